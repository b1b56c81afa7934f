def model(dbt, session):
    from misalign_profile.answer_steps import answer_prompts

    return answer_prompts(
        dbt.config.get("meta"),
        dbt.ref("fct_pairs").project("prompt_id, prompt, domains").distinct(),
        dbt.ref("domains"),
        dbt.ref("models"),
        dbt.ref("roles"),
        dbt.ref("prices"),
    )
