-- @am@: rows in the order of their distance, for as long as asked
SET client_min_messages = warning;
SET jit = off;
SET enable_seqscan = off;

-- a vector that looks random and is the same everywhere
CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;

-- The first column of a query as an array, by the index or without it; an
-- error where the plan is the other one.
CREATE FUNCTION pg_temp.fetch(query text, by_index bool) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
	line text; plan text := ''; result text[];
BEGIN
	PERFORM set_config('enable_indexscan', by_index::text, true);
	PERFORM set_config('enable_seqscan', (NOT by_index)::text, true);
	PERFORM set_config('enable_bitmapscan', 'off', true);
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	IF (plan ~ 'Order By:') <> by_index THEN
		RAISE 'unexpected plan: %', plan;
	END IF;
	EXECUTE 'SELECT array_agg(x::text) FROM (' || query || ') s (x)' INTO result;
	RETURN coalesce(result, '{}');
END $$;

CREATE FUNCTION pg_temp.same(query text) RETURNS bool
LANGUAGE sql AS $$ SELECT pg_temp.fetch(query, true) = pg_temp.fetch(query, false) $$;

CREATE TABLE items (id int PRIMARY KEY, v vector(3), grp int);
INSERT INTO items SELECT i, pg_temp.noise(i, 3), i % 5 FROM generate_series(1, 200) i;
CREATE INDEX items_ip ON items USING @am@ (v);
CREATE INDEX items_l2 ON items USING @am@ (v vector_l2_ops);
CREATE INDEX items_cosine ON items USING @am@ (v vector_cosine_ops);
-- the default class is inner product
SELECT c.relname, o.opcname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
	JOIN pg_opclass o ON o.oid = x.indclass[0]
WHERE x.indrelid = 'items'::regclass AND o.opcname LIKE 'vector%' ORDER BY 1;
SELECT amname, opcname, opcdefault FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod
WHERE amname = '@am@' ORDER BY opcname;
SELECT opcname, amvalidate(o.oid) FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod
WHERE amname = '@am@' ORDER BY opcname;

-- a small table: the very rows of a sequential scan, in the same order
SELECT op, lim, pg_temp.same(format(
	'SELECT id FROM items ORDER BY v %s ''[1,-2,0.5]'' LIMIT %s', op, lim)) AS same_rows
FROM unnest('{<#>,<->,<=>}'::text[]) op, unnest('{0,1,10,100,200,1000}'::int[]) lim;
SELECT op, pg_temp.same(format(
	'SELECT id FROM items ORDER BY v %s ''[1,-2,0.5]'' OFFSET 30 LIMIT 20', op)) AS same_rows
FROM unnest('{<#>,<->,<=>}'::text[]) op;
-- from many points of view; the distances that a query prints are the true ones
SELECT op, bool_and(pg_temp.same(format(
	'SELECT v %1$s %2$L FROM items ORDER BY v %1$s %2$L LIMIT 25', op, pg_temp.noise(-i, 3)))) AS same_distances
FROM unnest('{<#>,<->,<=>}'::text[]) op, generate_series(1, 40) i GROUP BY op ORDER BY op;
-- a LIMIT beyond the table returns each row once
SELECT op, cardinality(ids), (SELECT count(DISTINCT x) FROM unnest(ids) x)
FROM unnest('{<#>,<->,<=>}'::text[]) op,
	pg_temp.fetch(format('SELECT id FROM items ORDER BY v %s ''[0,1,0]'' LIMIT 100000', op), true) ids;
-- the operand on either side
SELECT pg_temp.same('SELECT id FROM items ORDER BY ''[1,-2,0.5]'' <-> v LIMIT 7');

-- any other condition is a filter on top, and the scan goes on until LIMIT
SELECT op, pg_temp.same(format(
	'SELECT id FROM items WHERE grp = 3 ORDER BY v %s ''[1,1,1]'' LIMIT 100', op)) AS same_rows,
	cardinality(pg_temp.fetch(format(
	'SELECT id FROM items WHERE grp = 3 ORDER BY v %s ''[1,1,1]'' LIMIT 100', op), true))
FROM unnest('{<#>,<->,<=>}'::text[]) op;
SELECT pg_temp.same('SELECT id FROM items WHERE v <#> ''[1,1,1]'' < -1 ORDER BY v <#> ''[1,1,1]'' LIMIT 50');
SELECT pg_temp.fetch('SELECT id FROM items WHERE grp = 99 ORDER BY v <#> ''[1,1,1]'' LIMIT 5', true);

-- a larger table: high recall, exact order, each row once
CREATE TABLE many (id int, v vector(32));
INSERT INTO many SELECT i, pg_temp.noise(i, 32) FROM generate_series(1, 3000) i;
CREATE INDEX ON many USING @am@ (v);
CREATE INDEX ON many USING @am@ (v vector_l2_ops);
CREATE INDEX ON many USING @am@ (v vector_cosine_ops);
-- the share of k rows that are as near as the exact k-th
CREATE FUNCTION pg_temp.recall(tab text, op text, q vector, k int, OUT recall float8, OUT ordered bool, OUT n int, OUT ndistinct int)
LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT id || '':'' || (v %2$s %3$L) FROM %1$s ORDER BY v %2$s %3$L LIMIT %4$s', tab, op, q, k);
	exact text[] := pg_temp.fetch(query, false);
	found text[] := pg_temp.fetch(query, true);
	distances float8[];
BEGIN
	SELECT array_agg(split_part(f, ':', 2)::float8 ORDER BY i), count(DISTINCT split_part(f, ':', 1))
		INTO distances, ndistinct FROM unnest(found) WITH ORDINALITY AS u (f, i);
	n := cardinality(found);
	recall := (SELECT count(*)::float8 / k FROM unnest(distances) d WHERE d <= split_part(exact[k], ':', 2)::float8);
	ordered := distances = (SELECT array_agg(d ORDER BY d) FROM unnest(distances) d);
END $$;
SELECT op, k, avg(recall) >= 0.9 AS recall, bool_and(ordered) AS ordered,
	min(n) = k AND max(n) = k AND min(ndistinct) = k AS k_rows
FROM unnest('{<#>,<->,<=>}'::text[]) op, unnest('{1,10,100,500}'::int[]) k,
	generate_series(1, 20) i, pg_temp.recall('many', op, pg_temp.noise(-i, 32), k)
GROUP BY op, k ORDER BY op, k;
@hnsw@-- all of it, past what the graph reaches
@ivfpq@-- all of it, to the last list
SELECT op, count(DISTINCT id), count(id) FROM unnest('{<#>,<->,<=>}'::text[]) op,
	unnest(pg_temp.fetch(format('SELECT id FROM many ORDER BY v %s %L LIMIT 1000000', op, pg_temp.noise(-1, 32)), true)) id
GROUP BY op ORDER BY op;
@hnsw@-- more visits find no less
@hnsw@SET recsys.hnsw_ef_search = 1000;
@hnsw@SELECT op, min(recall) = 1 AS exact FROM unnest('{<#>,<->,<=>}'::text[]) op,
@ivfpq@-- in all lists nearly all is found
@ivfpq@SET recsys.ivfpq_probes = 1000;
@ivfpq@SELECT op, avg(recall) > 0.95 AS nearly_all FROM unnest('{<#>,<->,<=>}'::text[]) op,
	generate_series(1, 20) i, pg_temp.recall('many', op, pg_temp.noise(-i, 32), 10)
GROUP BY op ORDER BY op;
@hnsw@RESET recsys.hnsw_ef_search;
@ivfpq@RESET recsys.ivfpq_probes;
-- a row deep down, alone behind a filter
SELECT count(*) FROM (SELECT id FROM many WHERE id = 1234
	ORDER BY v <#> (SELECT v * pg_temp.noise(0, 32) FROM many WHERE id = 1) LIMIT 1) s;

-- cursors fetch in pieces, and go on where they stopped
BEGIN;
SET LOCAL enable_sort = off;
DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> '[0.1,0.2,0.3]';
CREATE TEMP TABLE fetched (n serial, id int) ON COMMIT DROP;
DO $$
DECLARE
	c refcursor := 'c'; row_id int;
BEGIN
	LOOP
		FETCH c INTO row_id;
		EXIT WHEN NOT FOUND;
		INSERT INTO fetched (id) VALUES (row_id);
	END LOOP;
END $$;
FETCH c;
SELECT count(*), count(DISTINCT id), array_agg(id ORDER BY n) = (SELECT array_agg(id::int) FROM
	unnest(pg_temp.fetch('SELECT id FROM items ORDER BY v <-> ''[0.1,0.2,0.3]'' LIMIT 200', false)) id) AS same_rows
FROM fetched;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <#> '[1,0,0]' LIMIT 20;
FETCH 3 FROM c;
FETCH 2 FROM c;
MOVE 5 FROM c;
FETCH 1 FROM c;
CLOSE c;
DECLARE c SCROLL CURSOR FOR SELECT id FROM items ORDER BY v <#> '[1,0,0]' LIMIT 20;
FETCH 3 FROM c;
FETCH BACKWARD 2 FROM c;
FETCH ABSOLUTE 11 FROM c;
COMMIT;

-- rescans: a new query vector for each outer row, and the same one again
EXPLAIN (COSTS OFF) SELECT q.id, n.id FROM generate_series(1, 3) q (id),
	LATERAL (SELECT id FROM items ORDER BY v <-> pg_temp.noise(q.id, 3) LIMIT 2) n;
SELECT count(*), bool_and(first = q.id) AS finds_itself FROM items q,
	LATERAL (SELECT i.id AS first FROM items i ORDER BY i.v <-> q.v LIMIT 1) n;
SELECT count(*) AS wrong FROM generate_series(1, 50) q,
	LATERAL (SELECT array_agg(id) AS ids FROM (SELECT id FROM items ORDER BY v <#> pg_temp.noise(-q, 3) LIMIT 5) s) n
WHERE ids::text[] <> pg_temp.fetch(format('SELECT id FROM items ORDER BY v <#> %L LIMIT 5', pg_temp.noise(-q, 3)), false);
SELECT q, array_agg(id ORDER BY n) = (SELECT array_agg(id::int) FROM unnest(pg_temp.fetch(
	'SELECT id FROM items ORDER BY v <#> ''[1,1,0]'' LIMIT 4', false)) id) AS same_rows
FROM generate_series(1, 3) q,
	LATERAL (SELECT id, row_number() OVER () AS n FROM (SELECT id FROM items ORDER BY v <#> '[1,1,0]' LIMIT 4 + 0 * q) s) n
GROUP BY q ORDER BY q;
-- a query vector that is NULL in some of the rescans
SELECT q.id, count(n.id) FROM (VALUES (1, '[1,2,3]'::vector), (2, NULL), (3, '[3,2,1]')) q (id, v),
	LATERAL (SELECT id FROM items ORDER BY items.v <#> q.v LIMIT 6) n GROUP BY q.id ORDER BY q.id;

-- prepared statements, with plans of their own and generic ones
PREPARE nearest(vector, int) AS SELECT count(*), CASE WHEN $1 IS NOT NULL THEN array_agg(id) END AS ids FROM
	(SELECT id FROM items ORDER BY v <#> $1 LIMIT $2) s;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE nearest('[1,2,3]', 3);
EXECUTE nearest('[1,2,3]', 3);
EXECUTE nearest('[-1,2,3]', 3);
EXECUTE nearest(NULL, 3);
EXECUTE nearest('[1,2]', 3);
EXECUTE nearest('[1,2,3]', 3);
SET plan_cache_mode = force_custom_plan;
EXECUTE nearest('[1,2,3]', 3);
EXECUTE nearest('[-1,2,3]', 3);
RESET plan_cache_mode;
DEALLOCATE nearest;

-- a scalar subquery as the query vector is computed once
CREATE FUNCTION pg_temp.explain(query text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	-- before PostgreSQL 17 an InitPlan's result had another name
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		line := regexp_replace(line, 'InitPlan 1 \(returns .*\)', 'InitPlan 1');
		RETURN NEXT replace(line, '$0', '(InitPlan 1).col1');
	END LOOP;
END $$;
SELECT pg_temp.explain('SELECT id FROM items ORDER BY v <#> (SELECT v FROM items WHERE id = 7) LIMIT 5');
SELECT pg_temp.same('SELECT id FROM items ORDER BY v <#> (SELECT v FROM items WHERE id = 7) LIMIT 5');
-- one that finds no row is NULL
SELECT cardinality(pg_temp.fetch('SELECT id FROM items ORDER BY v <#> (SELECT v FROM items WHERE id = -1) LIMIT 5', true));

DROP TABLE items, many;
