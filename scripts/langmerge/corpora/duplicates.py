"""Duplicates: equal texts by their hash, near duplicates by datatrove's MinHash.

Of texts that are alike the one with the smallest hash is kept. datatrove would keep one that
depends on the order of the files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.utils.hashing import HashConfig

from langmerge.corpora.documents import Index
from langmerge.corpora.executor import execute
from langmerge.corpora.words import IcuWords

CONFIG = MinhashConfig(hash_config=HashConfig(hash_fc="sha1"))
"""datatrove's default, but for the hash: 5-grams of words, 14 buckets of 8 hashes. Texts whose
5-grams have a Jaccard similarity of 0.8 are found with a probability of 0.92, those of 0.5 with
0.05. datatrove's calls of xxhash fail with xxhash 4.
"""


def duplicates(index: Index, kind: str, language: str, processes: int, records: Path) -> dict[str, np.ndarray]:
    """Masks of the documents of an index that are `equal` or `near` to one that is kept.

    Args:
        kind: none, exact, or minhash, which finds both.
        records: folder for datatrove's files.
    """
    if kind == "none":
        return {}
    equal = ~first_of_each(index)
    if kind == "exact":
        return {"equal": equal}
    return {"equal": equal, "near": near_duplicates(index, language, processes, records) & ~equal}


def first_of_each(index: Index) -> np.ndarray:
    """A mask of the documents of an index without those that are equal to an earlier one."""
    kept = np.zeros(len(index), bool)
    kept[np.unique(index.columns["hash"], return_index=True)[1]] = True
    return kept


def near_duplicates(index: Index, language: str, processes: int, records: Path) -> np.ndarray:
    """A mask of the documents of an index that are alike to one with a smaller hash.

    Likeness is passed on: of A like B like C, one is kept. Texts of fewer than 5 words are like
    none.
    """
    folder = index.files[0].parent
    signatures, pairs, clusters = records / "signatures", records / "pairs", records / "clusters"
    reader = ParquetReader(str(folder), id_key="hash", read_metadata=False, adapter=as_document)
    signing = MinhashDedupSignature(str(signatures), CONFIG, IcuWords(language))
    execute([reader, signing], len(index.files), processes, records / "minhash_signatures")
    matching = MinhashDedupBuckets(str(signatures), str(pairs), config=CONFIG, lines_to_buffer=1000)
    execute([matching], CONFIG.num_buckets, processes, records / "minhash_pairs")
    clustering = MinhashDedupCluster(str(pairs), str(clusters), CONFIG, save_cluster_id=True, lines_to_buffer=1000)
    execute([clustering], 1, 1, records / "minhash_clusters")

    starts = np.searchsorted(index.columns["file"], np.arange(len(index.files)))
    members, cluster = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number in range(len(index.files)):
        file = clusters / f"{number:06d}.clusters"
        if file.is_file():
            found = np.fromfile(file, "<u4").reshape(-1, 2).astype(np.int64)
            members.append(starts[number] + found[:, 0])
            cluster.append(found[:, 1])
    alike, cluster = np.concatenate(members), np.concatenate(cluster)
    alike = alike[np.lexsort((index.columns["hash"][alike], cluster))]
    sorted_clusters = np.sort(cluster)
    mask = np.zeros(len(index), bool)
    mask[alike] = np.concatenate([np.zeros(min(1, len(alike)), bool), sorted_clusters[1:] == sorted_clusters[:-1]])
    return mask


def as_document(_reader: ParquetReader, data: dict, path: str, number: int) -> dict[str, object]:
    """A row as datatrove takes it."""
    return {"text": data["text"], "id": f"{path}/{number}", "metadata": {}}
