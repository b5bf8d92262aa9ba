-- Functions with which the regression tests build tower files, good and bad.

-- The bytes of a number from last to first.
CREATE FUNCTION pg_temp.reverse(b bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT string_agg(substring(b FROM i FOR 1), '' ORDER BY i DESC)
	FROM generate_series(1, length(b)) i
$$;

-- A safetensors file of that header and those data.
CREATE FUNCTION pg_temp.file(header text, data bytea DEFAULT '') RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.reverse(int8send(octet_length(convert_to(header, 'UTF8')))) || convert_to(header, 'UTF8') || data
$$;

-- Float4 values as they lie in a file.
CREATE FUNCTION pg_temp.floats(VARIADIC x real[]) RETURNS bytea LANGUAGE sql AS $$
	SELECT string_agg(pg_temp.reverse(float4send(v)), '' ORDER BY n) FROM unnest(x) WITH ORDINALITY u (v, n)
$$;

-- A file of a spec, golden rows, and tensors of float4:
-- {"name": {"shape": [2], "x": [1.5, 2]}}
CREATE FUNCTION pg_temp.model(spec jsonb, tensors jsonb DEFAULT '{}', golden jsonb DEFAULT NULL)
RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	header jsonb := jsonb_build_object('__metadata__', jsonb_strip_nulls(
		jsonb_build_object('recsys.spec', spec::text, 'recsys.golden', golden::text)));
	data bytea := '';
	piece bytea;
	name text;
	tensor jsonb;
BEGIN
	FOR name, tensor IN SELECT * FROM jsonb_each(tensors) LOOP
		SELECT string_agg(pg_temp.floats(v::real), '' ORDER BY n) INTO piece
		FROM jsonb_array_elements_text(tensor -> 'x') WITH ORDINALITY u (v, n);
		header := header || jsonb_build_object(name, jsonb_build_object('dtype', 'F32',
			'shape', tensor -> 'shape', 'data_offsets', jsonb_build_array(length(data), length(data) + length(piece))));
		data := data || piece;
	END LOOP;
	RETURN pg_temp.file(header::text, data);
END $$;

-- A spec of one tower.
CREATE FUNCTION pg_temp.spec(features jsonb, nodes jsonb, more jsonb DEFAULT '{}')
RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('format', 1, 'towers', jsonb_build_object('', jsonb_build_object(
		'features', features, 'nodes', nodes, 'output', 'y') || more))
$$;
