def model(dbt, session):
    from misalign_profile.steps import classify_expansions

    return classify_expansions(
        dbt.config.get("meta"),
        dbt.ref("int_expansions__distinct"),
        dbt.ref("domains"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
