def model(dbt, session):
    from misalign_profile.steps import verdicts

    return verdicts(
        dbt.config.get("meta"),
        dbt.ref("int_responses__to_verdict"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
