-- What the catalogs say about the objects of type vector
CREATE TEMP VIEW members AS
SELECT p.* FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE d.deptype = 'e' AND e.extname = 'recsys' AND 'vector'::regtype::oid IN
	(SELECT prorettype UNION SELECT unnest(proargtypes::oid[]));

-- symbols that no other library has
SELECT proname, prosrc FROM members WHERE prolang = 13 AND prosrc !~ '^recsys_';

-- immutable, parallel safe, and strict but for the aggregates
SELECT proname FROM members WHERE prosrc ~ '^recsys_(vector|array|l1_|l2_|inner|cosine|sub|binary)'
	AND (provolatile <> 'i' OR proparallel <> 's');
SELECT proname FROM members WHERE prosrc ~ '^recsys_(vector|array|l1_|l2_|inner|cosine|sub|binary)'
	AND NOT proisstrict ORDER BY proname;

-- operators: commutators and negators point at each other
SELECT o.oprname, c.oprname AS commutator, n.oprname AS negator, o.oprrest, o.oprjoin, o.oprcanmerge
FROM pg_operator o LEFT JOIN pg_operator c ON c.oid = o.oprcom AND c.oprcom = o.oid
LEFT JOIN pg_operator n ON n.oid = o.oprnegate AND n.oprnegate = o.oid
WHERE o.oprleft = 'vector'::regtype ORDER BY o.oprname COLLATE "C";

SELECT typlen, typbyval, typalign, typstorage, typcategory, typtype FROM pg_type
WHERE oid = 'vector'::regtype;

-- aggregates can be split
SELECT aggfnoid, aggcombinefn, aggserialfn, aggdeserialfn FROM pg_aggregate
WHERE aggfnoid::text IN ('sum(vector)', 'avg(vector)') OR aggtransfn::text ~ 'vector_accum' ORDER BY 1;

-- a search path that hides every name changes nothing inside
CREATE SCHEMA vector_trap;
CREATE FUNCTION vector_trap.boom(vector, vector) RETURNS boolean
	LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR vector_trap.< (LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_trap.boom);
CREATE OPERATOR vector_trap.= (LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_trap.boom);
CREATE FUNCTION vector_trap.numeric_float4(numeric) RETURNS real
	LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE TABLE vector_trap.items AS
	SELECT ARRAY[i, 1.5]::vector AS v FROM generate_series(1, 3) i;
SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'recsys' \gset
SET search_path = vector_trap, pg_catalog;
SELECT :"nspname".sum(v), :"nspname".avg(v), count(DISTINCT v), max(numeric '2.5') FROM items;
CREATE UNIQUE INDEX ON items (v);
SELECT v FROM items ORDER BY v OPERATOR(:"nspname".<->) '[3,1]', v;
SELECT (ARRAY[1.5, 2]::numeric[])::public.vector WHERE :'nspname' = 'public';
ANALYZE items;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA vector_trap CASCADE;
