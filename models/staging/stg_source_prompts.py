def model(dbt, session):
    from misalign_profile.steps import read_source

    return read_source(dbt.config.get("meta"), dbt.ref("domains"), dbt.ref("label_aliases"))
