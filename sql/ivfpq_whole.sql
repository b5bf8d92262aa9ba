-- recsys_ivfpq: a scan without LIMIT gives every row once, whichever lists it
-- meets later than the rows that it has found
SET client_min_messages = warning;
SET jit = off;

-- a vector that looks random and is the same everywhere
CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;

CREATE TABLE items (id int, v vector(32));
INSERT INTO items SELECT i, pg_temp.noise(i, 32) FROM generate_series(1, 12000) i;
CREATE INDEX items_ip ON items USING recsys_ivfpq (v) WITH (lists = 150);
CREATE INDEX items_l2 ON items USING recsys_ivfpq (v vector_l2_ops) WITH (lists = 150);
CREATE INDEX items_cosine ON items USING recsys_ivfpq (v vector_cosine_ops) WITH (lists = 150, refine = none);
ANALYZE items;

SET enable_seqscan = off;
SET enable_sort = off;
CREATE FUNCTION pg_temp.whole(op text, OUT by_index bool, OUT rows bigint, OUT different bigint)
LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT id FROM items ORDER BY v %1$s %2$L', op, pg_temp.noise(-1, 32));
	plan text := ''; line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		plan := plan || line;
	END LOOP;
	by_index := plan ~ 'Order By';
	EXECUTE format('SELECT count(*), count(DISTINCT id) FROM (%s) s', query)
		INTO rows, different;
END $$;
SELECT probes, op, w.*
FROM (VALUES ('0'), ('1')) p (probes), unnest('{<#>,<->,<=>}'::text[]) op,
	set_config('recsys.ivfpq_probes', probes, false), pg_temp.whole(op) w ORDER BY op, probes;
RESET recsys.ivfpq_probes;
DROP TABLE items;

-- What a scan to the end keeps: a score for each row that it has refined, up to
-- 8 bytes, and candidates, whose number does not grow with the rows returned.
CREATE TABLE many (id int, v vector(3));
INSERT INTO many SELECT i, ARRAY[hashint4(i), hashint4(-i), hashint4(i + 1000000)]::real[]::vector FROM generate_series(1, 200000) i;
CREATE INDEX many_v ON many USING recsys_ivfpq (v vector_l2_ops) WITH (lists = 100);
SET work_mem = '64kB';
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM many ORDER BY v <-> '[0,0,0]';
MOVE 100000 IN c;
SELECT sum(used_bytes) < 200000 * 8 + 2700000 AS bounded FROM pg_backend_memory_contexts WHERE name = 'recsys_ivfpq scan';
ABORT;
RESET work_mem;
DROP TABLE many;
