"""From text to tokenised corpora: cleaning, selection, contamination, tokenisation, Table 1.

datatrove reads its own intermediate files, filters, finds near duplicates and runs the files of a
corpus in parallel with a marker for each that is finished. What it cannot do is written here, and
tests/corpora shows for each of these things that it cannot.
"""
