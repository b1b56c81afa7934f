def model(dbt, session):
    from misalign_profile.steps import classify_types

    return classify_types(
        dbt.config.get("meta"),
        dbt.ref("stg_prompts"),
        dbt.ref("semantic_types"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
