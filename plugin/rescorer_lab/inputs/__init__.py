"""What an evaluation is given: topics, qrels and runs, from TREC files, BEIR folders, JSONL, CSV and TSV.

Every reader says by path and line what is wrong with a file, reads ``.gz`` as well, and holds no more than its result.
"""
