-- Filter columns of both access methods: what is compared by 64-bit keys.
-- The strategies are those of src/index/filter_key.h.

CREATE OPERATOR FAMILY @extschema@.filter_integer_ops USING @am@;

CREATE OPERATOR CLASS @extschema@.filter_int2_ops
	DEFAULT FOR TYPE pg_catalog.int2 USING @am@ FAMILY @extschema@.filter_integer_ops AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

CREATE OPERATOR CLASS @extschema@.filter_int4_ops
	DEFAULT FOR TYPE pg_catalog.int4 USING @am@ FAMILY @extschema@.filter_integer_ops AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

CREATE OPERATOR CLASS @extschema@.filter_int8_ops
	DEFAULT FOR TYPE pg_catalog.int8 USING @am@ FAMILY @extschema@.filter_integer_ops AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

ALTER OPERATOR FAMILY @extschema@.filter_integer_ops USING @am@ ADD
	OPERATOR 1 pg_catalog.< (pg_catalog.int2, pg_catalog.int4),
	OPERATOR 2 pg_catalog.<= (pg_catalog.int2, pg_catalog.int4),
	OPERATOR 3 pg_catalog.= (pg_catalog.int2, pg_catalog.int4),
	OPERATOR 4 pg_catalog.>= (pg_catalog.int2, pg_catalog.int4),
	OPERATOR 5 pg_catalog.> (pg_catalog.int2, pg_catalog.int4),
	OPERATOR 1 pg_catalog.< (pg_catalog.int2, pg_catalog.int8),
	OPERATOR 2 pg_catalog.<= (pg_catalog.int2, pg_catalog.int8),
	OPERATOR 3 pg_catalog.= (pg_catalog.int2, pg_catalog.int8),
	OPERATOR 4 pg_catalog.>= (pg_catalog.int2, pg_catalog.int8),
	OPERATOR 5 pg_catalog.> (pg_catalog.int2, pg_catalog.int8),
	OPERATOR 1 pg_catalog.< (pg_catalog.int4, pg_catalog.int2),
	OPERATOR 2 pg_catalog.<= (pg_catalog.int4, pg_catalog.int2),
	OPERATOR 3 pg_catalog.= (pg_catalog.int4, pg_catalog.int2),
	OPERATOR 4 pg_catalog.>= (pg_catalog.int4, pg_catalog.int2),
	OPERATOR 5 pg_catalog.> (pg_catalog.int4, pg_catalog.int2),
	OPERATOR 1 pg_catalog.< (pg_catalog.int4, pg_catalog.int8),
	OPERATOR 2 pg_catalog.<= (pg_catalog.int4, pg_catalog.int8),
	OPERATOR 3 pg_catalog.= (pg_catalog.int4, pg_catalog.int8),
	OPERATOR 4 pg_catalog.>= (pg_catalog.int4, pg_catalog.int8),
	OPERATOR 5 pg_catalog.> (pg_catalog.int4, pg_catalog.int8),
	OPERATOR 1 pg_catalog.< (pg_catalog.int8, pg_catalog.int2),
	OPERATOR 2 pg_catalog.<= (pg_catalog.int8, pg_catalog.int2),
	OPERATOR 3 pg_catalog.= (pg_catalog.int8, pg_catalog.int2),
	OPERATOR 4 pg_catalog.>= (pg_catalog.int8, pg_catalog.int2),
	OPERATOR 5 pg_catalog.> (pg_catalog.int8, pg_catalog.int2),
	OPERATOR 1 pg_catalog.< (pg_catalog.int8, pg_catalog.int4),
	OPERATOR 2 pg_catalog.<= (pg_catalog.int8, pg_catalog.int4),
	OPERATOR 3 pg_catalog.= (pg_catalog.int8, pg_catalog.int4),
	OPERATOR 4 pg_catalog.>= (pg_catalog.int8, pg_catalog.int4),
	OPERATOR 5 pg_catalog.> (pg_catalog.int8, pg_catalog.int4);

CREATE OPERATOR FAMILY @extschema@.filter_float_ops USING @am@;

CREATE OPERATOR CLASS @extschema@.filter_float4_ops
	DEFAULT FOR TYPE pg_catalog.float4 USING @am@ FAMILY @extschema@.filter_float_ops AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

CREATE OPERATOR CLASS @extschema@.filter_float8_ops
	DEFAULT FOR TYPE pg_catalog.float8 USING @am@ FAMILY @extschema@.filter_float_ops AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

ALTER OPERATOR FAMILY @extschema@.filter_float_ops USING @am@ ADD
	OPERATOR 1 pg_catalog.< (pg_catalog.float4, pg_catalog.float8),
	OPERATOR 2 pg_catalog.<= (pg_catalog.float4, pg_catalog.float8),
	OPERATOR 3 pg_catalog.= (pg_catalog.float4, pg_catalog.float8),
	OPERATOR 4 pg_catalog.>= (pg_catalog.float4, pg_catalog.float8),
	OPERATOR 5 pg_catalog.> (pg_catalog.float4, pg_catalog.float8),
	OPERATOR 1 pg_catalog.< (pg_catalog.float8, pg_catalog.float4),
	OPERATOR 2 pg_catalog.<= (pg_catalog.float8, pg_catalog.float4),
	OPERATOR 3 pg_catalog.= (pg_catalog.float8, pg_catalog.float4),
	OPERATOR 4 pg_catalog.>= (pg_catalog.float8, pg_catalog.float4),
	OPERATOR 5 pg_catalog.> (pg_catalog.float8, pg_catalog.float4);

CREATE OPERATOR CLASS @extschema@.filter_bool_ops
	DEFAULT FOR TYPE pg_catalog.bool USING @am@ AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

CREATE OPERATOR CLASS @extschema@.filter_char_ops
	DEFAULT FOR TYPE pg_catalog."char" USING @am@ AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

CREATE OPERATOR CLASS @extschema@.filter_oid_ops
	DEFAULT FOR TYPE pg_catalog.oid USING @am@ AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

CREATE OPERATOR CLASS @extschema@.filter_date_ops
	DEFAULT FOR TYPE pg_catalog.date USING @am@ AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

CREATE OPERATOR CLASS @extschema@.filter_timestamp_ops
	DEFAULT FOR TYPE pg_catalog.timestamp USING @am@ AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

CREATE OPERATOR CLASS @extschema@.filter_timestamptz_ops
	DEFAULT FOR TYPE pg_catalog.timestamptz USING @am@ AS
	OPERATOR 1 pg_catalog.< ,
	OPERATOR 2 pg_catalog.<= ,
	OPERATOR 3 pg_catalog.= ,
	OPERATOR 4 pg_catalog.>= ,
	OPERATOR 5 pg_catalog.>;

-- These are hashed, and rechecked on the row.

CREATE OPERATOR CLASS @extschema@.filter_text_ops
	DEFAULT FOR TYPE pg_catalog.text USING @am@ AS
	OPERATOR 3 pg_catalog.=;

CREATE OPERATOR CLASS @extschema@.filter_bpchar_ops
	DEFAULT FOR TYPE pg_catalog.bpchar USING @am@ AS
	OPERATOR 3 pg_catalog.=;

CREATE OPERATOR CLASS @extschema@.filter_uuid_ops
	DEFAULT FOR TYPE pg_catalog.uuid USING @am@ AS
	OPERATOR 3 pg_catalog.=;

CREATE OPERATOR CLASS @extschema@.filter_numeric_ops
	DEFAULT FOR TYPE pg_catalog.numeric USING @am@ AS
	OPERATOR 3 pg_catalog.=;

CREATE OPERATOR CLASS @extschema@.filter_enum_ops
	DEFAULT FOR TYPE pg_catalog.anyenum USING @am@ AS
	OPERATOR 3 pg_catalog.=;

-- Arrays have a signature of their elements, and are rechecked too.

CREATE OPERATOR CLASS @extschema@.filter_array_ops
	DEFAULT FOR TYPE pg_catalog.anyarray USING @am@ AS
	OPERATOR 6 pg_catalog.&& ,
	OPERATOR 7 pg_catalog.@>;
