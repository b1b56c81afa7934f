def model(dbt, session):
    from misalign_profile.steps import classify

    return classify(
        dbt.config.get("meta"),
        dbt.ref("stg_prompts"),
        dbt.ref("domains"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
