-- What a role can learn of rows that a policy hides from it: nothing, by scans,
-- functions that look in, messages, or plans.
\set VERBOSITY terse
-- the whole index is looked at
@hnsw@SET recsys.hnsw_ef_search = 1000;
@ivfpq@SET recsys.ivfpq_probes = 1000;
CREATE ROLE regress_rls_owner;
CREATE ROLE regress_rls_reader;
CREATE ROLE regress_rls_bypass BYPASSRLS;
CREATE TYPE rls_mood AS ENUM ('bad', 'good');
CREATE TABLE rls (id int PRIMARY KEY, tenant int, price numeric, tags text[], mood rls_mood, word text, note text, v vector(8));
-- rows of the other tenants have three times the norm of those of tenant 1, so that
-- the best of all by inner product are hidden ones
INSERT INTO rls SELECT i, i % 3, i % 50, ARRAY['t' || i % 7], (ARRAY['bad', 'good'])[1 + i % 2]::rls_mood, 'w' || i % 5, 'secret ' || i,
	(SELECT array_agg(sin(i * (j + 0.37)) * CASE i % 3 WHEN 1 THEN 1 ELSE 3 END ORDER BY j) FROM generate_series(1, 8) j)::vector
FROM generate_series(1, 900) i;
CREATE INDEX rls_v ON rls USING @am@ (v, tenant, price, tags, mood, word);
ALTER TABLE rls OWNER TO regress_rls_owner;
GRANT SELECT, UPDATE, DELETE ON rls TO regress_rls_reader, regress_rls_bypass;
CREATE TABLE rls_tenants (who name, tenant int);
INSERT INTO rls_tenants VALUES ('regress_rls_reader', 1);
GRANT SELECT ON rls_tenants TO PUBLIC;
-- cheap, so that the planner would like to run it first
CREATE FUNCTION rls_peek(id int, note text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
	IF id % 3 <> 1 THEN RAISE 'leaked %', note; END IF;
	RETURN true;
END $$;
ANALYZE rls;

-- The rows of a query by the index, and whether a scan of the table has the
-- same ones; none may be another tenant's.
CREATE FUNCTION rls_try(cond text, OUT rows bigint, OUT hidden bigint, OUT same bool, OUT scan text) LANGUAGE plpgsql AS $$
DECLARE
	query text := format('SELECT id FROM rls WHERE %s ORDER BY v <#> ''[1,2,3,4,5,6,7,8]'' LIMIT 50', cond);
	by_index int[]; by_table int[]; line text;
BEGIN
	PERFORM set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true);
	scan := 'no index';
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ 'Index Scan using rls_v' THEN scan := 'index'; END IF;
	END LOOP;
	EXECUTE 'SELECT array_agg(id) FROM (' || query || ') s' INTO by_index;
	PERFORM set_config('enable_sort', 'on', true), set_config('enable_seqscan', 'on', true), set_config('enable_indexscan', 'off', true);
	EXECUTE 'SELECT array_agg(id) FROM (' || query || ') s' INTO by_table;
	PERFORM set_config('enable_indexscan', 'on', true);
	rows := coalesce(cardinality(by_index), 0);
	hidden := (SELECT count(*) FROM unnest(by_index) i WHERE i % 3 <> 1);
	same := by_index IS NOT DISTINCT FROM by_table;
END $$;
CREATE FUNCTION rls_try_all(OUT cond text, OUT result text) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
	FOREACH cond IN ARRAY ARRAY['true', 'rls_peek(id, note)', 'tenant = 1', 'tenant > 1', 'tenant IN (0, 1, 2)', 'price < 10 AND rls_peek(id, note)',
		'price = 7', 'tags && ''{t1,t2}'' AND rls_peek(id, note)', 'mood = ''good''', 'word = ''w1'' AND rls_peek(id, note)', 'tenant > 1 AND rls_peek(id, note)',
		'word = ''w1'' OR rls_peek(id, note)', 'id = 3', 'note LIKE ''secret 3%'''] LOOP
		SELECT t::text INTO result FROM rls_try(cond) t;
		RETURN NEXT;
	END LOOP;
END $$;
-- Lines of a plan that no index scan of the server's own has, and that do not
-- count.
CREATE FUNCTION rls_explain(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		IF line !~ '^ *(->|Limit|Output:|Index Cond:|Order By:|Filter:|SubPlan|Buffers:|Storage:|Disabled:)' AND
			line !~ '^ *(Rows Removed by (Filter|Index Recheck)|Index (Strategy|Entries Visited|Entries Filtered Out|Candidates Refined|Lists Probed|Searches)|Heap Fetches): [a-z0-9]+$' THEN
			RETURN NEXT line;
		END IF;
	END LOOP;
END $$;
-- without a policy the best are other tenants'
SELECT * FROM rls_try('true');

ALTER TABLE rls ENABLE ROW LEVEL SECURITY;
-- by a filter column, by a column that is not in the index, by another table
CREATE POLICY p ON rls TO regress_rls_reader USING (tenant = 1);
SET ROLE regress_rls_reader;
SELECT * FROM rls_try_all();
RESET ROLE;
ALTER POLICY p ON rls USING (id % 3 = 1);
SET ROLE regress_rls_reader;
SELECT * FROM rls_try_all();
RESET ROLE;
ALTER POLICY p ON rls USING (tenant IN (SELECT t.tenant FROM rls_tenants t WHERE t.who = current_user));
SET ROLE regress_rls_reader;
SELECT * FROM rls_try_all();

-- looking in
SELECT recsys.index_recall('rls_v', 1, 20);
SELECT recsys.index_recall('rls_v', ARRAY['[1,2,3,4,5,6,7,8]']::vector[], 1);
SELECT recsys.check_index('rls_v');
-- the radius is the norm of a row, and so is not for everybody
@hnsw@SELECT dimensions, rows, radius FROM recsys.index_stats('rls_v');
@ivfpq@SELECT dimensions, rows, radius FROM recsys.ivfpq_stats('rls_v');
SELECT count(*) FROM pg_stats WHERE tablename = 'rls';
-- messages
SET enable_seqscan = off;
SET enable_sort = off;
SELECT id FROM rls ORDER BY v <#> '[1,2,3]' LIMIT 1;
SELECT id FROM rls ORDER BY v <#> '[1e38,1e38,1e38,1e38,1e38,1e38,1e38,1e38]' LIMIT 1;
-- a plan tells how many rows were removed, as that of a scan of the table does,
-- and nothing else of them
SELECT * FROM rls_explain('SELECT id FROM rls WHERE rls_peek(id, note) ORDER BY v <#> ''[1,2,3,4,5,6,7,8]'' LIMIT 3');
-- changes reach no hidden row
WITH best AS (SELECT id FROM rls ORDER BY v <#> '[1,2,3,4,5,6,7,8]' LIMIT 5)
	UPDATE rls SET word = 'seen' FROM best WHERE rls.id = best.id RETURNING rls.id % 3 AS tenant;
DELETE FROM rls WHERE id = ANY (ARRAY(SELECT id FROM rls WHERE tenant = 2 ORDER BY v <#> '[1,2,3,4,5,6,7,8]' LIMIT 5));
RESET ROLE;
SELECT tenant, count(*), count(*) FILTER (WHERE word = 'seen') AS seen FROM rls GROUP BY 1 ORDER BY 1;

-- a plan that was made for another role is made anew
SET plan_cache_mode = force_generic_plan;
PREPARE best AS SELECT id % 3 AS tenant FROM rls ORDER BY v <#> '[1,2,3,4,5,6,7,8]' LIMIT 1;
SET ROLE regress_rls_owner;
EXECUTE best;
SET ROLE regress_rls_reader;
EXECUTE best;
SET ROLE regress_rls_bypass;
EXECUTE best;
SELECT recsys.index_recall('rls_v', 1, 20) > 0.9 AS measured;
SET ROLE regress_rls_owner;
SELECT recsys.index_recall('rls_v', 1, 20) > 0.9 AS measured;
@hnsw@SELECT radius > 3 AS has_radius FROM recsys.index_stats('rls_v');
@ivfpq@SELECT radius > 3 AS has_radius FROM recsys.ivfpq_stats('rls_v');
-- whom the owner binds to the policy too
ALTER TABLE rls FORCE ROW LEVEL SECURITY;
EXECUTE best;
SELECT recsys.index_recall('rls_v', 1, 20);
@hnsw@SELECT rows, radius FROM recsys.index_stats('rls_v');
@ivfpq@SELECT rows, radius FROM recsys.ivfpq_stats('rls_v');
-- the index is checked all the same: it tells where a fault is, and no value
SELECT recsys.check_index('rls_v');
RESET ROLE;
RESET plan_cache_mode;
DEALLOCATE best;

-- who may read single columns may not measure the index
REVOKE ALL ON rls FROM regress_rls_reader;
GRANT SELECT (id, v) ON rls TO regress_rls_reader;
ALTER TABLE rls DISABLE ROW LEVEL SECURITY;
SET ROLE regress_rls_reader;
SELECT count(*) FROM (SELECT id FROM rls ORDER BY v <#> '[1,2,3,4,5,6,7,8]' LIMIT 3) s;
SELECT id FROM rls WHERE tenant = 1 ORDER BY v <#> '[1,2,3,4,5,6,7,8]' LIMIT 3;
SELECT recsys.index_recall('rls_v');
@hnsw@SELECT recsys.index_stats('rls_v');
@ivfpq@SELECT recsys.ivfpq_stats('rls_v');
RESET ROLE;
RESET enable_seqscan;
RESET enable_sort;

@hnsw@RESET recsys.hnsw_ef_search;
@ivfpq@RESET recsys.ivfpq_probes;
DROP TABLE rls, rls_tenants;
DROP TYPE rls_mood;
DROP FUNCTION rls_peek, rls_try, rls_try_all, rls_explain;
DROP ROLE regress_rls_owner, regress_rls_reader, regress_rls_bypass;
