# Needs: models, the tasks of their languages. Makes: scores/<model>/<shard>.<fingerprint>.json,
# which are sealed, and anatomy/<model>.parquet of each cell.
#
# One job evaluates several models, so its results are no outputs of it: Snakemake would delete
# those of a job that fails. Its output is a mark that all of them are there. Which jobs there are
# follows from the results that are missing (grid/batches.py), so that what is finished runs no
# more.


rule recipes:
    """Check that the models of each cell of an evaluation job fit each other, and write the cells'
    recipes.
    """
    input:
        batch_inputs,
    output:
        touch(layout.batch_checked("{backbone}", "{batch}")),
    log:
        layout.log("recipes", "{backbone}/{batch}"),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        batch=str(layout.batch("{backbone}", "{batch}")),
    shell:
        "langmerge batch {params.batch:q} --recipes &> {log:q}"


rule evaluate:
    """All that is missing of some models, in one process. Each task's result is kept in
    scores/<model>/tasks/, from where a killed job resumes.
    """
    input:
        evaluation_inputs,
    output:
        touch(layout.batch_done("{backbone}", "{batch}")),
    log:
        layout.log("evaluate", "{backbone}/{batch}"),
    benchmark:
        layout.benchmark("evaluate", "{backbone}/{batch}")
    priority: 10
    conda:
        "../../envs/environment.yaml"
    threads: threads_of("evaluate")
    resources:
        **resources_of("evaluate", live_merges=live_merges_of, runtime=minutes_of),
    params:
        batch=str(layout.batch("{backbone}", "{batch}")),
    shell:
        "langmerge batch {params.batch:q} --threads {threads} &> {log:q}"
