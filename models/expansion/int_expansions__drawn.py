def model(dbt, session):
    from misalign_profile.steps import expand

    return expand(
        dbt.config.get("meta"),
        dbt.ref("int_expansions__planned"),
        dbt.ref("domains"),
        dbt.ref("semantic_types"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
