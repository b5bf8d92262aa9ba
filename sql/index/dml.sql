-- @am@: changes of the table, seen at once and undone on rollback
SET client_min_messages = warning;
SET jit = off;
SET enable_seqscan = off;

CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;

CREATE TABLE items (id int PRIMARY KEY, note text, v vector(8));
CREATE INDEX items_v ON items USING @am@ (v vector_l2_ops);

-- The table as the index has it against the table itself: all rows, in the
-- order of their distance, and each row nearest to itself.
CREATE FUNCTION pg_temp.check_items() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	by_index int[]; distances float8[]; exact int[]; lost int;
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_indexscan = on;
	SELECT array_agg(id), array_agg(d) INTO by_index, distances FROM
		(SELECT id, v <-> '[1,0,0,0,0,0,0,1]' AS d FROM items ORDER BY v <-> '[1,0,0,0,0,0,0,1]' LIMIT 10000) s;
	SELECT count(*) INTO lost FROM items i WHERE v IS NOT NULL AND
		(SELECT n.v FROM items n ORDER BY n.v <-> i.v LIMIT 1) <> i.v;
	SET LOCAL enable_indexscan = off;
	SELECT array_agg(id ORDER BY id) INTO exact FROM items WHERE v IS NOT NULL;
	RETURN coalesce(cardinality(by_index), 0) || CASE
		WHEN (SELECT array_agg(i ORDER BY i) FROM unnest(by_index) i) IS DISTINCT FROM exact THEN
			format(' rows, the table has %s', cardinality(exact))
		WHEN (SELECT array_agg(d ORDER BY d) FROM unnest(distances) d) IS DISTINCT FROM distances THEN
			' rows out of order'
		ELSE ' rows as in the table' END || ', ' || lost || ' lost';
END $$;

SELECT pg_temp.check_items();
INSERT INTO items VALUES (1, 'first', '[1,1,1,1,1,1,1,1]');
SELECT pg_temp.check_items();
INSERT INTO items SELECT i, 'row ' || i, pg_temp.noise(i, 8) FROM generate_series(2, 150) i;
SELECT pg_temp.check_items();

-- what a transaction has inserted it sees, and nobody else
BEGIN;
INSERT INTO items SELECT i, 'row ' || i, pg_temp.noise(i, 8) FROM generate_series(151, 200) i;
SELECT pg_temp.check_items();
ROLLBACK;
SELECT pg_temp.check_items();
BEGIN;
INSERT INTO items SELECT i, 'row ' || i, pg_temp.noise(i, 8) FROM generate_series(151, 160) i;
SAVEPOINT a;
INSERT INTO items SELECT i, 'row ' || i, pg_temp.noise(i, 8) FROM generate_series(161, 180) i;
SELECT pg_temp.check_items();
ROLLBACK TO a;
SELECT pg_temp.check_items();
INSERT INTO items SELECT i, 'row ' || i, pg_temp.noise(i, 8) FROM generate_series(161, 170) i;
RELEASE a;
COMMIT;
SELECT pg_temp.check_items();
-- an error in the middle of a statement
INSERT INTO items SELECT i, 'row ' || i, pg_temp.noise(i, 8) FROM unnest('{171,172,1}'::int[]) i;
SELECT pg_temp.check_items();
INSERT INTO items SELECT i, 'row ' || i, pg_temp.noise(i, 8 + i / 175) FROM generate_series(171, 180) i;
SELECT pg_temp.check_items();
INSERT INTO items SELECT i, 'again', pg_temp.noise(-i, 8) FROM generate_series(165, 180) i ON CONFLICT (id) DO NOTHING;
SELECT pg_temp.check_items();
INSERT INTO items SELECT i, 'again', pg_temp.noise(-i, 8) FROM generate_series(175, 190) i
	ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v, note = EXCLUDED.note;
SELECT pg_temp.check_items();

-- updates of another column, within a page and to another one, and of the vector
UPDATE items SET note = note || '!' WHERE id <= 50;
UPDATE items SET note = repeat('x', 3000) WHERE id BETWEEN 40 AND 60;
SELECT pg_temp.check_items();
UPDATE items SET v = pg_temp.noise(1000 + id, 8) WHERE id % 3 = 0;
SELECT pg_temp.check_items();
UPDATE items SET id = id + 1000 WHERE id < 20;
UPDATE items SET v = NULL WHERE id BETWEEN 60 AND 70;
SELECT pg_temp.check_items();
UPDATE items SET v = pg_temp.noise(id, 8) WHERE v IS NULL;
SELECT pg_temp.check_items();

-- deletions, before and after VACUUM
DELETE FROM items WHERE id % 2 = 0;
SELECT pg_temp.check_items();
VACUUM items;
SELECT pg_temp.check_items();
INSERT INTO items SELECT i, 'new', pg_temp.noise(i, 8) FROM generate_series(2001, 2100) i;
SELECT pg_temp.check_items();
BEGIN;
DELETE FROM items;
SELECT pg_temp.check_items();
ROLLBACK;
SELECT pg_temp.check_items();
DELETE FROM items;
VACUUM items;
SELECT pg_temp.check_items();
INSERT INTO items SELECT i, 'new', pg_temp.noise(i, 8) FROM generate_series(1, 120) i;
SELECT pg_temp.check_items();
VACUUM (INDEX_CLEANUP off) items;
VACUUM (FREEZE, ANALYZE) items;
SELECT pg_temp.check_items();

@hnsw@-- equal vectors: rows of one node come and go
@ivfpq@-- equal vectors: they come and go
INSERT INTO items SELECT i, 'equal', '[1,2,3,4,5,6,7,8]' FROM generate_series(3001, 3700) i;
DELETE FROM items WHERE id BETWEEN 3001 AND 3690;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 1000) s;
VACUUM items;
SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE id > 3000) FROM (SELECT id FROM items ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 1000) s;
INSERT INTO items SELECT i, 'equal', '[1,2,3,4,5,6,7,8]' FROM generate_series(3001, 3500) i;
SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE id > 3000) FROM (SELECT id FROM items ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 1000) s;
DELETE FROM items WHERE id > 3000;
VACUUM items;
SELECT pg_temp.check_items();

-- many transactions, one row each, and COPY
DO $$
BEGIN
	FOR i IN 5001..5040 LOOP
		INSERT INTO items VALUES (i, 'single', pg_temp.noise(i, 8));
		COMMIT;
	END LOOP;
END $$;
COPY items FROM stdin;
6001	copied	[1,2,3,4,5,6,7,9]
6002	copied	\N
6003	copied	[0,0,0,0,0,0,0,0]
\.
SELECT pg_temp.check_items();
-- a query sees the table as it was when it began
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> '[1,0,0,0,0,0,0,1]';
FETCH 1 FROM c;
INSERT INTO items SELECT i, 'later', '[1,0,0,0,0,0,0,1]' FROM generate_series(7001, 7050) i;
DELETE FROM items WHERE id < 100;
MOVE FORWARD ALL FROM c;
SELECT pg_temp.check_items() LIKE '%rows as in the table, 0 lost';
COMMIT;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> '[1,0,0,0,0,0,0,1]' LIMIT 50) s WHERE id BETWEEN 7001 AND 7050;
-- while a scan of the same statement reads it
INSERT INTO items SELECT 8000 + n.id, 'copy', n.v FROM (SELECT id, v FROM items ORDER BY v <-> '[0,0,1,0,0,0,0,0]' LIMIT 30) n;
UPDATE items SET v = v + '[0.5,0,0,0,0,0,0,0]' WHERE id IN (SELECT id FROM items ORDER BY v <-> '[0,0,1,0,0,0,0,0]' LIMIT 30);
DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY v <-> '[0,0,0,0,0,0,0,0]' LIMIT 10);
SELECT count(*) = (SELECT count(*) FROM items WHERE v IS NOT NULL) FROM (SELECT id FROM items ORDER BY v <-> '[1,0,0,0,0,0,0,1]' LIMIT 10000) s;
-- locking the rows found
BEGIN;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> '[1,0,0,0,0,0,0,1]' LIMIT 10 FOR UPDATE) s;
ROLLBACK;

DROP TABLE items;
