def model(dbt, session):
    from misalign_profile.pair_steps import read_source_pairs

    return read_source_pairs(dbt.config.get("meta"), dbt.ref("domains"), dbt.ref("label_aliases"))
