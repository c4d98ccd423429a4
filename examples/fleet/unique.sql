-- What each AMI has alone: the chunks that no other AMI holds.
WITH mapped AS (
    SELECT DISTINCT ami, name, snapshot FROM amis
),
alone AS (
    SELECT holders.chunk AS chunk, min(mapped.ami) AS ami
    FROM holders
    JOIN mapped ON mapped.snapshot = holders.snapshot
    GROUP BY holders.chunk
    HAVING count(DISTINCT mapped.ami) = 1
),
stored AS (
    SELECT chunk, sum(stored_bytes) AS stored_bytes FROM chunks GROUP BY chunk
),
named AS (
    SELECT DISTINCT ami, name FROM amis
)
SELECT
    named.ami AS ami,
    named.name AS name,
    count(alone.chunk) AS chunks,
    count(alone.chunk) * 524288 AS bytes,
    CAST(coalesce(sum(stored.stored_bytes), 0) AS BIGINT) AS stored_bytes
FROM named
LEFT JOIN alone ON alone.ami = named.ami
LEFT JOIN stored ON stored.chunk = alone.chunk
GROUP BY named.ami, named.name
ORDER BY ami
