#!/usr/bin/env python3
"""Makes a synthetic fleet: snapshot manifests without images, to try questions at any scale.

    synthetic.py FOLDER [--lineages 50] [--versions 20] [--blocks 16384] [--churn 20] [--shared 600] [--seed 1]

FOLDER gets NAME.snap for each version of each lineage, and FOLDER.csv says which was made over which, for --lineage. Lineages
begin with one of three bases, as with the releases of a distribution: --shared of 1,000 of their blocks are those of a base.
Each version changes --churn of 1,000 blocks. The same seed makes the same fleet. docs/formats/manifest.md is the format.
"""

import argparse
import hashlib
import pathlib
import random
import struct
import zlib

BLOCK = 524288
GROUP = 1024
ZEROS = hashlib.sha256(bytes(BLOCK)).digest()


def manifest(blocks):
    """Returns the bytes of a manifest of blocks: a digest, ZEROS, or None for a hole."""
    groups, table, linear = bytearray(), bytearray(), hashlib.sha256()
    root = hashlib.sha256(b"amikit.snapshot.v1" + bytes(6) + struct.pack("<QII", len(blocks) * BLOCK, BLOCK, 1))
    counts = [0, 0, 0]
    for number in range(0, -(-len(blocks) // GROUP)):
        here = blocks[number * GROUP : (number + 1) * GROUP]
        there = [it for it in here if it is not None]
        digests = [it for it in there if it != ZEROS]
        linear.update(b"".join(there))
        # The first block is the lowest bit.
        written = int("".join("0" if it is None else "1" for it in reversed(here)), 2)
        data = int("".join("0" if it is None or it == ZEROS else "1" for it in reversed(here)), 2)
        own = (len(digests), len(there) - len(digests), len(here) - len(there))
        counts = [sum(it) for it in zip(counts, own)]
        if not written:
            continue
        group = written.to_bytes(128, "little") + data.to_bytes(128, "little") + b"".join(digests)
        digest = hashlib.sha256(group).digest()
        at = 4096 + len(groups)
        table += struct.pack("<IHHQI12x32s", number, own[0], own[1], at, zlib.crc32(group), digest)
        root.update(struct.pack("<I32s", number, digest))
        groups += group
    groups += bytes(-len(groups) % 4096)
    table_at = 4096 + len(groups)
    header = struct.pack(
        "<8sHHIIIIIQQQQQQ32s32sI",
        b"\x89AMS\r\n\x1a\n", 1, 0, 0, 0, 1, BLOCK, len(table) // 64, len(blocks) * BLOCK, *counts,
        table_at, table_at + len(table), root.digest(), linear.digest(), zlib.crc32(table),
    ).ljust(4092, b"\0")
    return header + struct.pack("<I", zlib.crc32(header)) + groups + table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    for name, value in [("lineages", 50), ("versions", 20), ("blocks", 16384), ("churn", 20), ("shared", 600), ("seed", 1)]:
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    seeded = random.Random(args.seed)
    folder = pathlib.Path(args.folder)
    folder.mkdir(parents=True)

    def fresh():
        kind = seeded.random()
        return None if kind < 0.1 else ZEROS if kind < 0.13 else seeded.randbytes(32)

    bases = [[fresh() for _ in range(args.blocks)] for _ in range(3)]
    with open(f"{args.folder}.csv", "w", encoding="ascii") as lineage:
        lineage.write("snapshot,parent\n")
        for number in range(args.lineages):
            base = seeded.choice(bases)
            blocks = [it if seeded.random() * 1000 < args.shared else fresh() for it in base]
            for version in range(args.versions):
                name = f"l{number:04}-v{version:03}"
                if version:
                    for _ in range(args.blocks * args.churn // 1000):
                        blocks[seeded.randrange(args.blocks)] = fresh()
                    lineage.write(f"{name},l{number:04}-v{version - 1:03}\n")
                blocks[0] = seeded.randbytes(32)
                (folder / f"{name}.snap").write_bytes(manifest(blocks))


if __name__ == "__main__":
    main()
