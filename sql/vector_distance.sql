-- Distances and their operators
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

SELECT '[0,0]'::vector <-> '[3,4]' AS l2, '[1,2]'::vector <#> '[3,4]' AS negative_ip,
	'[1,0]'::vector <=> '[0,2]' AS cosine, '[0,0]'::vector <+> '[3,-4]' AS l1;
SELECT l2_distance('[0,0]', '[3,4]'), inner_product('[1,2]', '[3,4]'),
	cosine_distance('[1,1]', '[-1,-1]'), l1_distance('[0,0]', '[3,-4]'),
	vector_l2_squared_distance('[0,0]', '[3,4]'),
	vector_negative_inner_product('[1,2]', '[3,4]');
SELECT '[1]'::vector <-> NULL AS n, NULL::vector <#> '[1]' AS n,
	NULL::vector <=> NULL AS n, '[1]'::vector <+> NULL AS n;

-- a zero inner product is 0, not -0
SELECT '[1,0]'::vector <#> '[0,1]';

-- every length up to 100 and some long ones, against sums in SQL
SELECT count(*) AS lengths,
	bool_and(a <-> b = sqrt(l2sq)) AS l2, bool_and(a <#> b = -dot) AS ip,
	bool_and(abs((a <=> b) - (1 - dot / sqrt(aa * bb))) < 1e-6) AS cosine,
	bool_and(a <+> b = l1) AS l1
FROM (SELECT array_agg(x ORDER BY i)::vector AS a, array_agg(y ORDER BY i)::vector AS b,
		sum((x - y) ^ 2) AS l2sq, sum(x * y) AS dot, sum(abs(x - y)) AS l1,
		sum(x * x) AS aa, sum(y * y) AS bb
	FROM generate_series(1, 100) d,
		LATERAL (SELECT i, (i * 7 % 11 - 5)::float8 AS x, (i * 5 % 7 - 2)::float8 AS y
				 FROM generate_series(1, CASE WHEN d > 95 THEN d * 160 ELSE d END) i) e
	GROUP BY d) s;

-- parallel vectors: rounding never leaves [0, 2]
SELECT count(*), bool_and(v <=> w BETWEEN 0 AND 1e-6) AS same,
	bool_and(v <=> (w * array_fill(-1, ARRAY[vector_dims(w)])::vector) BETWEEN 2 - 1e-6 AND 2) AS opposite
FROM (SELECT array_agg(i * 0.7)::vector AS v, array_agg(i * 0.7 * s)::vector AS w
	  FROM generate_series(1, 50) d, generate_series(1, 20) s, generate_series(1, d) i
	  GROUP BY d, s) p;

-- zero vectors have no direction: NaN, which sorts last
SELECT '[1,2]'::vector <=> '[0,0]' AS cosine, '[0,0]'::vector <=> '[0,0]' AS cosine;
SELECT v, v <=> '[1,1]' AS cosine FROM (VALUES ('[0,0]'::vector), ('[-1,-1]'), ('[2,2]')) i(v)
ORDER BY v <=> '[1,1]';

-- neither overflow nor underflow of float4 shows
SELECT ('[3e38]'::vector <-> '[-3e38]') > 5e38 AS l2, inner_product('[3e38]', '[3e38]')::numeric > 8e76 AS ip,
	'[3e38,3e38]'::vector <=> '[3e38,3e38]' AS cosine, ('[3e38]'::vector <+> '[-3e38]') > 5e38 AS l1;
SELECT inner_product('[1e30,1e30]', '[1e30,-1e30]') AS zero,
	inner_product('[1e30,1e30,1]', '[1e30,-1e30,0]') AS zero;
SELECT round(('[1e-30]'::vector <-> '[4e-30]')::numeric * 1e30, 5) AS l2,
	round(inner_product('[1e-30]', '[2e-30]')::numeric * 1e60, 5) AS ip,
	round(('[1e-40,0]'::vector <=> '[1e-40,1e-40]')::numeric, 3) AS cosine,
	'[1e-45]'::vector <=> '[2e-45]' AS cosine,
	round(('[1e-44]'::vector <+> '[-1e-44]')::numeric * 1e44, 1) AS l1;

SELECT s AS expression, pg_temp.error_of('SELECT ' || s) FROM (VALUES
	('''[1,2]''::vector <-> ''[3]'''), ('''[1,2]''::vector <#> ''[3]'''),
	('''[1]''::vector <=> ''[3,4]'''), ('''[1]''::vector <+> ''[3,4]'''),
	('vector_l2_squared_distance(''[1,2]'', ''[3]'')'),
	('inner_product(''[1,2,3]'', ''[3]'')')) i(s);

-- toasted and short-header values
CREATE TEMP TABLE stored (v vector);
INSERT INTO stored VALUES ('[1,2]'), (array_fill(2, ARRAY[16000])::vector);
SELECT vector_dims(v), v <-> v AS l2, v <#> v AS ip, v <+> v AS l1, vector_norm(v) FROM stored ORDER BY 1;
SELECT pg_temp.error_of('SELECT a.v <-> b.v FROM stored a, stored b');
