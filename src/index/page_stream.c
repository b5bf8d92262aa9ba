/*
 * page_stream.c
 *		Pages in an order that is known some way ahead, read ahead of their use.
 */
#include "postgres.h"

#include "utils/rel.h"
#include "utils/spccache.h"

#include "base/compat.h"
#include "index/buffer_hint.h"
#include "index/page_stream.h"

#ifdef COMPAT_READ_STREAM

struct PageStream
{
	Relation	rel;
	ReadStream *stream;
	PageStreamNext next;
	void	   *arg;
};

static BlockNumber
stream_next_block(ReadStream * stream, void *private, void *per_buffer_data)
{
	PageStream *self = private;

	return self->next(self->arg);
}

PageStream *
page_stream_begin(Relation rel, PageStreamNext next, void *arg)
{
	PageStream *self = palloc(sizeof(PageStream));

	self->rel = rel;
	self->next = next;
	self->arg = arg;
	self->stream = read_stream_begin_relation(READ_STREAM_DEFAULT, NULL, rel,
											  MAIN_FORKNUM, stream_next_block,
											  self, 0);
	return self;
}

Buffer
page_stream_next(PageStream *stream)
{
	Buffer		buffer = read_stream_next_buffer(stream->stream, NULL);

	if (BufferIsValid(buffer))
		buffer_hint_note(stream->rel, buffer);
	return buffer;
}

void
page_stream_end(PageStream *stream)
{
	read_stream_end(stream->stream);
	pfree(stream);
}

#else							/* no read stream */

/* A page that a hint says is in a buffer is not announced. */

struct PageStream
{
	Relation	rel;
	PageStreamNext next;
	void	   *arg;
	bool		at_end;
	int			first;			/* of the announced blocks, a ring */
	int			n;
	int			max;
	BlockNumber blocks[FLEXIBLE_ARRAY_MEMBER];
};

PageStream *
page_stream_begin(Relation rel, PageStreamNext next, void *arg)
{
	int			max = get_tablespace_io_concurrency(rel->rd_rel->reltablespace);
	PageStream *stream;

	max = Max(max, 1);
	stream = palloc0(offsetof(PageStream, blocks) + sizeof(BlockNumber) * max);
	stream->rel = rel;
	stream->next = next;
	stream->arg = arg;
	stream->max = max;
	return stream;
}

/* Announce blocks until as many as allowed are on their way. */
static void
stream_announce(PageStream *stream)
{
	while (!stream->at_end && stream->n < stream->max)
	{
		BlockNumber block = stream->next(stream->arg);

		if (block == InvalidBlockNumber)
			stream->at_end = true;
		else
		{
			if (stream->max > 1 &&
				buffer_hint_address(stream->rel, block) == NULL)
				PrefetchBuffer(stream->rel, MAIN_FORKNUM, block);
			stream->blocks[(stream->first + stream->n++) % stream->max] = block;
		}
	}
}

Buffer
page_stream_next(PageStream *stream)
{
	BlockNumber block;

	stream_announce(stream);
	if (stream->n == 0)
		return InvalidBuffer;
	block = stream->blocks[stream->first];
	stream->first = (stream->first + 1) % stream->max;
	stream->n--;
	return buffer_hint_read(stream->rel, block);
}

void
page_stream_end(PageStream *stream)
{
	pfree(stream);
}

#endif
