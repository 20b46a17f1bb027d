# Needs: nothing. Makes: a page on the terminal about what the run will take.


rule plan:
    """What there is to do: repositories to fetch, jobs, disk and GPU-hours."""
    log:
        f"{RUN}/logs/plan.log",
    conda:
        "../../envs/environment.yaml"
    params:
        script=f"{SCRIPTS}/plan.py",
        run=whole_run,
        config=CONFIG,
        # On a cluster --jobs, on one machine --cores.
        jobs=lambda wildcards: workflow.cores if workflow.local_exec else workflow.nodes,
    shell:
        "python {params.script} {params.run:q} --config {params.config} --jobs {params.jobs} | tee {log}"
