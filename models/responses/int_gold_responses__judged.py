def model(dbt, session):
    from misalign_profile.calibration_steps import judge_gold

    return judge_gold(
        dbt.config.get("meta"),
        dbt.ref("domains"),
        dbt.ref("label_aliases"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
