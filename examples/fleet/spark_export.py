#!/usr/bin/env python3
"""Exports the images of a folder as tables, on the workers of Spark.

    spark_export.py IMAGES TABLES [--master MASTER] [--format jsonl] [--inside] [--parts N]

IMAGES is a folder of stores, bundles and snapshot manifests, and TABLES the folder of tables; every worker must see both
under the same path. Each worker needs the program: `pip install amikit`, or AMIKIT names it.

A task exports its share into a folder of its own beside TABLES. When it is done, its files are moved to TABLES, table by
table, those that say that others are complete last. What a task that was killed has left is not moved, and the next run
exports it again.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess

# In the order in which docs/formats/tables.md has files get their names.
ORDER = ["blocks", "holders", "packages", "files", "chunks", "snapshots", "amis"]


def export(number, images, tables, form, inside):
    """Exports a share. Returns the folder that it is in."""
    images = list(images)
    if not images:
        return []
    own = f"{tables}.share-{number}"
    shutil.rmtree(own, ignore_errors=True)
    command = [os.environ.get("AMIKIT", "amikit"), "export", *images, "-o", own, "--format", form, "--json"]
    subprocess.run(command + (["--inside"] if inside else []), check=True, stdout=subprocess.DEVNULL)
    return [own]


def take_in(own, tables):
    """Moves the files of a share to where they belong."""
    for table in ORDER:
        folder = pathlib.Path(tables, table)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(pathlib.Path(own, table).glob("*")):
            # Named by its content: one that is there already is the same.
            os.replace(file, folder / file.name)
    shutil.rmtree(own)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("tables")
    parser.add_argument("--master")
    parser.add_argument("--format", default="jsonl", choices=["csv", "jsonl", "parquet"])
    parser.add_argument("--inside", action="store_true")
    parser.add_argument("--parts", type=int, default=0)
    args = parser.parse_args()

    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("amikit export").config("spark.ui.enabled", "false")
    spark = (builder.master(args.master) if args.master else builder).getOrCreate()
    images = sorted(str(it.resolve()) for it in pathlib.Path(args.images).iterdir())
    tables = pathlib.Path(args.tables).resolve()
    tables.mkdir(parents=True, exist_ok=True)
    marker = tables / "amikit-tables.json"
    if not marker.exists():
        marker.write_text(json.dumps({"version": 1, "format": args.format}, separators=(",", ":")) + "\n")
    form, inside, to = args.format, args.inside, str(tables)
    shares = spark.sparkContext.parallelize(images, args.parts or max(1, len(images)))
    # Collected here, so that one process moves files.
    for own in shares.mapPartitionsWithIndex(lambda at, it: export(at, it, to, form, inside)).toLocalIterator():
        take_in(own, tables)
    spark.stop()


if __name__ == "__main__":
    main()
