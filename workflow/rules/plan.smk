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
        jobs=lambda wildcards, output: controller.at_once,
    shell:
        "langmerge plan {params.run:q} --jobs {params.jobs} | tee {log:q}"
