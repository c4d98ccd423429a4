-- What is shared: the chunks by how many snapshots hold them.
WITH held AS (
    SELECT chunk, count(*) AS snapshots FROM holders GROUP BY chunk
),
stored AS (
    SELECT chunk, sum(stored_bytes) AS stored_bytes FROM chunks GROUP BY chunk
)
SELECT
    held.snapshots AS snapshots,
    count(*) AS chunks,
    CAST(coalesce(sum(stored.stored_bytes), 0) AS BIGINT) AS stored_bytes
FROM held
LEFT JOIN stored ON stored.chunk = held.chunk
GROUP BY held.snapshots
ORDER BY snapshots
