def model(dbt, session):
    from misalign_profile.steps import sample_responses

    return sample_responses(
        dbt.config.get("meta"),
        dbt.ref("int_prompts__to_answer"),
        dbt.ref("domains"),
        dbt.ref("semantic_types"),
        dbt.ref("rejection_reasons"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
