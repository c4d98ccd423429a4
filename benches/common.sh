# What the scripts beside it share; they read it first.

die() {
    printf '%s: %s\n' "$(basename -- "$0")" "$1" >&2
    exit 2
}
say() {
    printf '%s: %s\n' "$(basename -- "$0")" "$1" >&2
}

# build NAME ARGUMENTS...: runs cargo, and prints the path of the executable called NAME.
build() {
    local name=$1
    shift
    (cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." &&
        cargo "$@" --message-format=json-render-diagnostics) | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == sys.argv[1]:
        print(message["executable"])
' "$name" | tail -n 1
}
