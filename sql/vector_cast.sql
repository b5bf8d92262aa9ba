-- Casts between vectors and arrays
SET client_min_messages = warning;
-- SQLSTATE, message, detail and hint of what a statement raises
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE,
		message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' / ', state, message, nullif(detail, ''),
					 nullif(hint, ''));
END $$;

SELECT ARRAY[1,2,3]::vector, ARRAY[1.5,2,3]::real[]::vector,
	ARRAY[1.5,2,-3]::double precision[]::vector, ARRAY[1.5,2,3]::numeric[]::vector;
SELECT '{1,2,3}'::real[]::vector(3), '[2:4]={1,2,3}'::int[]::vector;
SELECT '[1,2.5,-3]'::vector::real[], array_dims('[1,2]'::vector::real[]);
SELECT '{0.1,1e-45,3.4028235e38}'::real[]::vector;
SELECT '{0.1,1e-46,-1e-300,3.4028235e38}'::double precision[]::vector;
-- rounded once, as real is
SELECT '{16777217}'::int[]::vector, '{0.3333333333333333333333}'::numeric[]::vector;
SELECT vector_dims(array_fill(1, ARRAY[16000])::vector);
SELECT array_length(array_fill(1, ARRAY[16000])::vector::real[], 1);

SELECT s AS value, pg_temp.error_of('SELECT ' || s) FROM (VALUES
	('''{}''::int[]::vector'), ('''{}''::real[]::vector'),
	('''{NULL}''::int[]::vector'), ('''{1,NULL,3}''::real[]::vector'),
	('''{1,NULL}''::float8[]::vector'), ('''{NULL,1}''::numeric[]::vector'),
	('''{{1,2},{3,4}}''::int[]::vector'),
	('''{{1}}''::real[]::vector'),
	('''{1,2,3}''::int[]::vector(2)'), ('''{1,2,3}''::real[]::vector(4)'),
	('''{NaN}''::real[]::vector'), ('''{1,Infinity}''::real[]::vector'),
	('''{NaN}''::float8[]::vector'), ('''{-Infinity}''::float8[]::vector'),
	('''{NaN}''::numeric[]::vector'), ('''{Infinity}''::numeric[]::vector'),
	('''{1e39}''::float8[]::vector'), ('''{1,-1e300}''::float8[]::vector'),
	('''{1e39}''::numeric[]::vector'), ('''{1e-60}''::numeric[]::vector'),
	('array_fill(1, ARRAY[16001])::vector'),
	('array_fill(1.0::real, ARRAY[16001])::vector'),
	('''{1}''::text[]::vector'), ('''{1}''::bigint[]::vector'),
	('''[1,2]''::vector::vector(3)'), ('''[1,2]''::vector::int[]')) i(s);

-- contexts: as pgvector's
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod
FROM pg_cast WHERE 'vector'::regtype IN (castsource, casttarget)
ORDER BY castsource::regtype::text, casttarget::regtype::text;
CREATE TEMP TABLE assigned (v vector(2), a real[]);
INSERT INTO assigned VALUES (ARRAY[1,2], '[3,4]'::vector),
	(ARRAY[1.5,2], NULL), ('{1,2}'::real[], NULL), ('{1,2}'::float8[], NULL);
SELECT * FROM assigned;
SELECT pg_temp.error_of('INSERT INTO assigned VALUES (ARRAY[1,2,3])');
-- vector goes to real[] by itself
CREATE FUNCTION pg_temp.elements(real[]) RETURNS int LANGUAGE sql AS 'SELECT cardinality($1)';
SELECT pg_temp.elements('[1,2,3]'::vector);
