def model(dbt, session):
    from misalign_profile.judge_steps import judge_again

    return judge_again(
        dbt.config.get("meta"),
        dbt.ref("int_responses__sampled"),
        dbt.ref("int_prompts__to_answer"),
        dbt.ref("domains"),
        dbt.ref("semantic_types"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
