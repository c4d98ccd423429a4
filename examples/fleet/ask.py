#!/usr/bin/env python3
"""Answers a question about a fleet from its tables, with DuckDB or Spark: one JSON object a line.

    ask.py TABLES shared|unique|churn
    ask.py TABLES frees --delete AMI [--delete AMI ...]
    ask.py TABLES holders --chunk DIGEST
    ask.py TABLES holders-of-file --digest DIGEST
    ask.py TABLES holders-of-package --package NAME [--version VERSION]

TABLES is a folder that `amikit export` made. AMI is a name or the digest of an AMI. The questions are the .sql files beside
this one, the same for both engines.
"""

import argparse
import json
import pathlib

TABLES = ["snapshots", "blocks", "chunks", "holders", "files", "packages", "amis"]
# Columns that are 32 bytes in Parquet and hexadecimal digits elsewhere; and all columns, for tables without a file.
COLUMNS = {
    "snapshots": "snapshot text, parent text, volume_size int, data_blocks int, zero_blocks int, hole_blocks int, linear text",
    "blocks": "snapshot text, block int, state text, chunk digest, stored_bytes int",
    "chunks": "pack text, chunk digest, kind text, stored_bytes int",
    "holders": "chunk digest, snapshot text, count int",
    "files": "snapshot text, path text, path_bytes text, kind text, size int, digest digest, owned_bytes int, mode int,"
    " uid int, gid int",
    "packages": "snapshot text, manager text, name text, architecture text, version text",
    "amis": "ami text, kind text, name text, ami_name text, device text, snapshot text, description text",
}


def columns(table):
    return [column.strip().split(" ") for column in COLUMNS[table].split(",")]


def text(value):
    """Writes a value into a query."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


class DuckDb:
    types = {"text": "VARCHAR", "int": "BIGINT", "digest": "BLOB"}

    def __init__(self, threads):
        import duckdb

        self.db = duckdb.connect()
        if threads:
            self.db.execute(f"SET threads = {threads}")

    def table(self, name, folder, form):
        files = f"{folder}/{name}/*.{form}"
        if not list(pathlib.Path(folder, name).glob(f"*.{form}")):
            nothing = ", ".join(f"CAST(NULL AS {self.types[kind]}) AS {it}" for it, kind in columns(name))
            return self.db.execute(f"CREATE VIEW {name} AS SELECT {nothing} WHERE 1 = 0")
        if form == "parquet":
            return self.db.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({text(files)})")
        as_read = {it: "BIGINT" if kind == "int" else "VARCHAR" for it, kind in columns(name)}
        reader = "read_csv" if form == "csv" else "read_json"
        more = ", header = true, delim = ',', quote = '\"', escape = '\"'" if form == "csv" else ", format = 'newline_delimited'"
        cast = ", ".join(f"unhex({it}) AS {it}" if kind == "digest" else it for it, kind in columns(name))
        self.db.execute(f"CREATE VIEW {name} AS SELECT {cast} FROM {reader}({text(files)}, columns = {as_read}{more})")

    def view(self, name, query):
        self.db.execute(f"CREATE VIEW {name} AS {query}")

    def rows(self, query):
        found = self.db.execute(query)
        names = [it[0] for it in found.description]
        return [dict(zip(names, row)) for row in found.fetchall()]


class Spark:
    types = {"text": "STRING", "int": "BIGINT", "digest": "BINARY"}

    def __init__(self, master):
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.appName("amikit fleet").config("spark.ui.enabled", "false")
        # Lineages may be long.
        builder = builder.config("spark.sql.cteRecursionLevelLimit", "100000")
        self.spark = (builder.master(master) if master else builder).getOrCreate()
        self.spark.sparkContext.setLogLevel("ERROR")

    def table(self, name, folder, form):
        files = pathlib.Path(folder, name)
        if not list(files.glob(f"*.{form}")):
            nothing = ", ".join(f"CAST(NULL AS {self.types[kind]}) AS {it}" for it, kind in columns(name))
            return self.view(name, f"SELECT {nothing} WHERE 1 = 0")
        if form == "parquet":
            return self.spark.read.parquet(str(files)).createOrReplaceTempView(name)
        schema = ", ".join(f"{it} {'BIGINT' if kind == 'int' else 'STRING'}" for it, kind in columns(name))
        if form == "csv":
            read = self.spark.read.csv(str(files), schema=schema, header=True, escape='"', multiLine=True)
        else:
            read = self.spark.read.json(str(files), schema=schema)
        cast = [f"unhex({it}) AS {it}" if kind == "digest" else it for it, kind in columns(name)]
        read.selectExpr(*cast).createOrReplaceTempView(name)

    def view(self, name, query):
        self.spark.sql(query).createOrReplaceTempView(name)

    def rows(self, query):
        return [row.asDict() for row in self.spark.sql(query).collect()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables")
    parser.add_argument("question", choices=sorted(it.stem for it in pathlib.Path(__file__).parent.glob("*.sql")))
    parser.add_argument("--engine", choices=["duckdb", "spark"], default="duckdb")
    parser.add_argument("--master", help="Spark's master, as local-cluster[2,1,1024]")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--delete", action="append", default=[])
    parser.add_argument("--chunk")
    parser.add_argument("--digest")
    parser.add_argument("--package")
    parser.add_argument("--version")
    args = parser.parse_args()
    form = json.loads(pathlib.Path(args.tables, "amikit-tables.json").read_text())["format"]
    engine = DuckDb(args.threads) if args.engine == "duckdb" else Spark(args.master)
    for name in TABLES:
        engine.table(name, args.tables, form)
    if args.question == "frees":
        names = ", ".join(text(it.removeprefix("sha256:")) for it in args.delete) or "NULL"
        engine.view("deleted", f"SELECT DISTINCT ami FROM amis WHERE name IN ({names}) OR ami IN ({names})")
    elif args.question == "holders":
        engine.view("asked", f"SELECT unhex({text(args.chunk)}) AS chunk")
    elif args.question == "holders-of-file":
        engine.view("asked", f"SELECT unhex({text(args.digest)}) AS digest")
    elif args.question == "holders-of-package":
        engine.view("asked", f"SELECT {text(args.package)} AS package, CAST({text(args.version)} AS VARCHAR(200)) AS version")
    for row in engine.rows(pathlib.Path(__file__).with_name(f"{args.question}.sql").read_text()):
        print(json.dumps(row, sort_keys=True))


if __name__ == "__main__":
    main()
