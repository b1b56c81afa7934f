def model(dbt, session):
    from misalign_profile.pair_steps import sample_or_import

    return sample_or_import(
        dbt.config.get("meta"),
        dbt.ref("stg_source_pairs"),
        dbt.ref("int_prompts__to_answer"),
        dbt.ref("domains"),
        dbt.ref("semantic_types"),
        dbt.ref("rejection_reasons"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
