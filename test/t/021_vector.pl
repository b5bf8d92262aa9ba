# The type vector where SQL alone does not reach: binary input with hostile
# bytes, an odd schema, dump and restore, soft input errors.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('vector');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION recsys');
my $dir = PostgreSQL::Test::Utils::tempdir;

# A file for COPY ... (FORMAT binary) of one column, a row a value.
sub copy_file
{
	my ($name, @values) = @_;
	open my $fh, '>:raw', "$dir/$name" or die $!;
	print $fh "PGCOPY\n\377\r\n\0", pack('N2', 0, 0);
	print $fh pack('n N/a*', 1, $_) for @values;
	print $fh pack('n', 0xffff);
	close $fh;
	return "$dir/$name";
}

# Binary form of a vector as a client sends it.
sub binary
{
	my (@x) = @_;
	return pack('n2', scalar @x, 0) . join('', map { pack('f>', $_) } @x);
}

my $run = 0;

# What COPY of the bytes into vector(typmod) raises, or the text stored.
sub receive
{
	my ($bytes, $type) = @_;
	my $file = copy_file('in' . $run++, $bytes);
	my ($rc, $out, $err) = $node->psql('postgres',
		"CREATE TEMP TABLE t (v @{[$type // 'vector']}); "
		  . "COPY t FROM '$file' (FORMAT binary); SELECT v FROM t",
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $rc == 0 ? $out : $err =~ /ERROR:  ([^\n]*)/ ? $1 : $err;
}

# --- good bytes
is(receive(binary(1, -2.5)), '[1,-2.5]', 'bytes are read');
is(receive(binary(1, 2), 'vector(2)'), '[1,2]', 'bytes fit the modifier');
is(receive(pack('n2N', 1, 0, 1)), '[1e-45]', 'smallest subnormal');
is(receive(pack('n2N', 1, 0, 0x7f7fffff)), '[3.4028235e+38]', 'largest');
is(length(receive(binary((1) x 16000))), 32001, '16000 dimensions');

# --- hostile bytes
my @hostile = (
	[ 'no bytes', '', qr/08P01: insufficient data left in message/ ],
	[ 'one byte', "\0", qr/08P01: insufficient data left in message/ ],
	[ 'no second field', pack('n', 1), qr/08P01: insufficient data left in message/ ],
	[ 'no dimension', pack('n2', 0, 0), qr/22000: vector must have at least 1 dimension/ ],
	[ '16001 dimensions', binary((1) x 16001), qr/54000: vector cannot have more than 16000 dimensions/ ],
	[ 'negative dimensions', pack('n2', 0xffff, 0), qr/54000: vector cannot have more than 16000 dimensions/ ],
	[ 'second field not zero', pack('n2', 1, 7) . pack('f>', 1), qr/22P03: expected unused to be 0, not 7/ ],
	[ 'no elements', pack('n2', 3, 0), qr/22P03: expected 12 bytes for 3 dimensions, not 0/ ],
	[ 'elements missing', pack('n2', 3, 0) . pack('f>2', 1, 2), qr/22P03: expected 12 bytes for 3 dimensions, not 8/ ],
	[ 'a byte missing', substr(binary(1, 2), 0, -1), qr/22P03: expected 8 bytes for 2 dimensions, not 7/ ],
	[ 'a byte too many', binary(1, 2) . "\0", qr/22P03: expected 8 bytes for 2 dimensions, not 9/ ],
	[ 'NaN', pack('n2N', 1, 0, 0x7fc00000), qr/22000: NaN not allowed in vector/ ],
	[ 'signalling NaN', pack('n2N', 1, 0, 0xffa00001), qr/22000: NaN not allowed in vector/ ],
	[ 'infinity', pack('n2N', 1, 0, 0x7f800000), qr/22000: infinite value not allowed in vector/ ],
	[ 'negative infinity, last', pack('n2N2', 2, 0, 0, 0xff800000), qr/22000: infinite value not allowed in vector/ ]);
like(receive($_->[1]), $_->[2], "refused: $_->[0]") for @hostile;
like(receive(binary(1, 2, 3), 'vector(2)'),
	qr/22000: expected 2 dimensions, not 3/, 'refused: modifier');

# Random bytes: a finite vector or a clean error, and nothing else.
srand(42);
my ($accepted, @odd) = (0);
for my $i (1 .. 40)
{
	my $n = int(rand(6));
	my $bytes = pack('n2', $n, $i % 2 ? 0 : int(rand(3)))
	  . join('', map { pack('N', int(rand(2**32))) } 1 .. $n);
	my $got = receive($bytes);
	$accepted++ if $got =~ /^\[[-+0-9.e,]+\]$/;
	push @odd, $got unless $got =~ /^(\[[-+0-9.e,]+\]$|22000: |22P03: )/;
}
is("@odd", '', 'random bytes give a vector or an error');
ok($accepted > 0, "some random bytes are vectors: $accepted of 40");

# --- round trip of both COPY formats
$node->safe_psql('postgres', qq{
	CREATE TABLE source (i int, v vector);
	INSERT INTO source SELECT i, ARRAY[i * 0.1, (1e38 / i)::real, i * 1e-43]::float8[]::vector FROM generate_series(1, 500) i;
	INSERT INTO source VALUES (501, NULL), (502, array_fill(0.1, ARRAY[16000])::vector), (503, '[-0]');
	CREATE TABLE target_binary (LIKE source);
	CREATE TABLE target_text (LIKE source);
	COPY source TO '$dir/out.bin' (FORMAT binary);
	COPY target_binary FROM '$dir/out.bin' (FORMAT binary);
	COPY source TO '$dir/out.txt';
	COPY target_text FROM '$dir/out.txt';
});
for my $format (qw(binary text))
{
	is($node->safe_psql('postgres', qq{
		SELECT count(*), count(*) FILTER (WHERE vector_send(s.v) IS NOT DISTINCT FROM vector_send(t.v))
		FROM source s JOIN target_$format t USING (i)}),
		'503|503', "COPY $format keeps every bit");
}

# --- soft errors, where the server has them
SKIP:
{
	skip 'soft input errors came with PostgreSQL 16', 4
	  if $node->pg_version < 16;
	my @soft = (
		[ '[1,2', 'invalid input syntax for type vector: "[1,2"' ],
		[ '[1,nan]', 'NaN not allowed in vector' ],
		[ '[1e99]', '"1e99" is out of range for type vector' ],
		[ '[1,2]', 'expected 3 dimensions, not 2', 'vector(3)' ]);
	is($node->safe_psql('postgres', sprintf(
				"SELECT pg_input_is_valid('%s', '%s'), message FROM pg_input_error_info('%s', '%s')",
				$_->[0], $_->[2] // 'vector', $_->[0], $_->[2] // 'vector')),
		"f|$_->[1]", "soft error: $_->[0]")
	  for @soft;
}

# --- a schema whose name needs quotes, off the search path
$node->safe_psql('postgres', 'CREATE DATABASE odd');
$node->safe_psql('odd', q{
	CREATE SCHEMA "Odd Schema";
	CREATE EXTENSION recsys SCHEMA "Odd Schema";
	CREATE TABLE items (i int, v "Odd Schema".vector(2));
	INSERT INTO items SELECT i, ARRAY[i, 1] FROM generate_series(1, 50) i;
	CREATE INDEX ON items (v);
	ANALYZE items;
});
is($node->safe_psql('odd', q{SELECT i FROM items ORDER BY v OPERATOR("Odd Schema".<->) '[7.2,1]' LIMIT 2}),
	"7\n8", 'operators in a schema off the search path');
is($node->safe_psql('odd', q{SELECT "Odd Schema".avg(v), count(DISTINCT v) FROM items}),
	'[25.5,1]|50', 'aggregate in a schema off the search path');
is($node->safe_psql('odd', q{
	SELECT count(*) FROM pg_extension e, pg_depend d JOIN pg_proc p ON p.oid = d.objid
	WHERE extname = 'recsys' AND d.classid = 'pg_proc'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
	AND p.pronamespace NOT IN ('"Odd Schema"'::regnamespace, 'recsys'::regnamespace)}),
	'0', 'nothing goes to any other schema');

# --- dump and restore
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/odd.dump", '-d', $node->connstr('odd') ],
	'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), "$dir/odd.dump" ],
	'pg_restore');
my $digest = q{SELECT md5(string_agg(v::text, ',' ORDER BY i)), count(*) FROM items};
is($node->safe_psql('restored', $digest), $node->safe_psql('odd', $digest),
	'dump and restore keep every row');

# --- and it goes as a whole
$node->safe_psql('odd', 'DROP TABLE items; DROP EXTENSION recsys');
is($node->safe_psql('odd', q{SELECT count(*) FROM pg_proc WHERE probin ~ 'recsys'}), '0',
	'DROP EXTENSION leaves nothing');

$node->stop;
done_testing();
