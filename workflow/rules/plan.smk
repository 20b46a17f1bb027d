# Needs: nothing. Makes: a page on the terminal that says what the run will take.


rule plan:
    """What there is to do: repositories to fetch, jobs, disk and GPU-hours."""
    log:
        layout.log("plan"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        run=whole_run,
        jobs=lambda wildcards, output: batches().at_once,
        limit=lambda wildcards, output: f"--limit {batches().limit}" if batches().limit else "",
    shell:
        "langmerge plan {params.run:q} --jobs {params.jobs} {params.limit} | tee {log:q}"
