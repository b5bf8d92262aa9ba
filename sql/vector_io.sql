-- Text and binary form of type vector, and its type modifier
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

-- what is read
SELECT to_json(t) AS input, t::vector AS output FROM (VALUES
	('[1,2,3]'), ('[-1,-2.5,+3]'), ('[1.,.5,1e2]'), ('[0]'), ('[-0]'),
	(' [ 1,  2 ,    3  ] '), (E'\t\n\x0b\f\r[\t1\n,\x0b2\f]\r'),
	('[0.1,0.3333333432674408,16777217]'), ('[1.23456]'), ('[0x10]')) i(t);

-- the ends of float4: largest, smallest normal, smallest subnormal, and
-- below that zero
SELECT '[3.4028235e38,-3.4028235e38]'::vector;
SELECT '[1.17549435e-38,1e-45,-1e-45]'::vector;
SELECT '[1e-46,-1e-46,1e-400]'::vector;
SELECT '[3.4028234663852887e38,3.40282356e38]'::vector;

-- the decimal nearest to each float4 reads back as the same bits
SELECT count(*) FILTER (WHERE v::text::vector = v) AS same, count(*)
FROM (SELECT ARRAY[(i * 0.7)::real, (1e30 / i)::real, (i * 1e-40)::real]::vector AS v
	  FROM generate_series(1, 1000) i) s;

-- what is refused
SELECT t AS input, pg_temp.error_of(format('SELECT %L::vector', t)) FROM (VALUES
	(''), (' '), ('1,2,3'), ('{1,2}'), ('['), ('[ '), ('[,'), (']'),
	('[]'), ('[ ]'), ('[,]'), ('[1,]'), ('[,1]'), ('[1,,3]'), ('[1, ,3]'),
	('[1'), ('[1,2,3'), ('[1,2,3]9'), ('[1,2,3] [4]'), ('[1,2],'), ('[[1]]'),
	('[1a]'), ('[hello,1]'), ('[1 2]'), ('[1;2]'), ('[--1]'), ('[1e]'), ('[1,2)'),
	('[NaN,1]'), ('[1,nan]'), ('[Infinity,1]'), ('[1,-inf]'),
	('[4e38,1]'), ('[1,-4e38]'), ('[3.4028236e38]'), ('[1e400]')) i(t);

-- type modifier
SELECT '[1,2,3]'::vector(3);
SELECT '[1]'::vector(1);
SELECT s AS type, pg_temp.error_of(format('SELECT ''[1,2,3]''::%s', s)) FROM (VALUES
	('vector(2)'), ('vector(4)'), ('vector(16000)'), ('vector(3,2)'),
	('vector(0)'), ('vector(-1)'), ('vector(16001)'), ('vector(''a'')')) i(s);
SELECT '{"[1,2,3]","[4,5]",NULL}'::vector[];
SELECT pg_temp.error_of($$SELECT '{"[1,2,3]"}'::vector(2)[]$$);

CREATE TEMP TABLE typed (v vector(3));
INSERT INTO typed VALUES ('[1,2,3]'), (NULL);
SELECT pg_temp.error_of($$INSERT INTO typed VALUES ('[1,2]')$$);
SELECT pg_temp.error_of($$INSERT INTO typed SELECT '[1,2,3,4]'::vector$$);
SELECT pg_temp.error_of($$ALTER TABLE typed ALTER v TYPE vector(2)$$);
ALTER TABLE typed ALTER v TYPE vector;
INSERT INTO typed VALUES ('[1,2]');
SELECT format_type(atttypid, atttypmod), attstorage FROM pg_attribute
	WHERE attrelid = 'typed'::regclass AND attnum = 1;
SELECT pg_temp.error_of($$ALTER TABLE typed ALTER v TYPE vector(3)$$);
SELECT * FROM typed;

-- limits: 16000 dimensions, stored out of line
CREATE TEMP TABLE wide (v vector(16000));
INSERT INTO wide SELECT format('[%s]', string_agg(i::text, ',' ORDER BY i))::vector
	FROM generate_series(1, 16000) i;
SELECT vector_dims(v), length(v::text), octet_length(vector_send(v)),
	pg_column_size(v), subvector(v, 15999, 2) FROM wide;
SELECT v::text::vector = v FROM wide;
SELECT pg_temp.error_of(format('SELECT %L::vector',
	'[' || repeat('1,', 16000) || '1]'));
SELECT pg_temp.error_of(format('SELECT %L::vector', '[' || repeat(',', 100000)));

-- binary output; input is tested in test/t/021_vector.pl
SELECT vector_send('[1,-2.5]'), vector_send('[1e-45]'), vector_send('[-0]');
