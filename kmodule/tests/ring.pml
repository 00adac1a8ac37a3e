/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Model of core/ring.c for the model checker Spin: every interleaving of a writer and a reader, on processors that
 * reorder memory accesses as far as the ring's acquire and release operations allow.
 *
 *   spin -a ring.pml && cc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * What is checked: record n is read whole, once, and after record n - 1; at the end the records that were wanted are
 * head + dropped, and all of head have been read; and no end gets stuck.
 *
 * How reordering is modelled.  Neither end reads what it writes, so it is enough to say when each access takes effect:
 * - A store is issued, and takes effect later, in any order but that of the stores to the same word.  A *release*
 *   store waits for the accesses before it; stores after it may overtake it.
 * - The reader's loads of a record's two words take effect in any order, after its *acquire* load of head.
 * - The writer's stores are issued after its acquire load of tail.
 *
 * With one of these left out, by -D to spin, the model must fail, or its success would prove nothing:
 *   WRITER_WITHOUT_ACQUIRE  WRITER_WITHOUT_RELEASE  READER_WITHOUT_ACQUIRE  READER_WITHOUT_RELEASE
 * and so it must with ROOM_FOR_ONE_MORE: a writer that finds the ring full one record too late.
 *
 * BLOCKING: the writer waits for room, and may not drop anything.
 */
#define SLOTS 2
#define WANTED 9 /* records, so that each slot is used four times or more */
#define SLOT(n) ((n) % SLOTS)
#define NOT_YET 255
#define GARBAGE 254

#ifdef ROOM_FOR_ONE_MORE
#define ROOM (SLOTS + 1)
#else
#define ROOM SLOTS
#endif

/* Memory.  A record is two words that both hold its number, so that a torn one shows. */
byte head, tail;
byte first[SLOTS] = GARBAGE, second[SLOTS] = GARBAGE;

/* Stores that are issued but without effect: of a record's words, at most one each; of head and tail, up to here. */
byte first_store[SLOTS] = NOT_YET, second_store[SLOTS] = NOT_YET;
byte issued_head, issued_tail;

byte dropped;
bool writer_is_done;

inline store_record(n)
{
	first_store[SLOT(n)] == NOT_YET;
	first_store[SLOT(n)] = n;
	second_store[SLOT(n)] == NOT_YET;
	second_store[SLOT(n)] = n
}

active proctype writer()
{
	byte known_tail, wanted;

	do
	:: wanted < WANTED ->
		wanted++;
#ifdef WRITER_WITHOUT_ACQUIRE
		store_record(issued_head);
#endif
		if
		:: issued_head - known_tail == ROOM ->
#ifdef BLOCKING
			tail != known_tail;
#endif
			known_tail = tail
		:: else
		fi;
		if
		:: issued_head - known_tail == ROOM -> dropped++
		:: else ->
#ifndef WRITER_WITHOUT_ACQUIRE
			store_record(issued_head);
#endif
			issued_head++
		fi
	:: else -> break
	od;
	writer_is_done = true
}

/* Of all records before this head, no store is left (NOT_YET is above every head). */
#define RECORDS_ARE_OUT(h) \
	(first_store[0] >= h && second_store[0] >= h && first_store[1] >= h && second_store[1] >= h)

active proctype writer_stores()
{
end:	do
	:: atomic { first_store[0] != NOT_YET -> first[0] = first_store[0]; first_store[0] = NOT_YET }
	:: atomic { second_store[0] != NOT_YET -> second[0] = second_store[0]; second_store[0] = NOT_YET }
	:: atomic { first_store[1] != NOT_YET -> first[1] = first_store[1]; first_store[1] = NOT_YET }
	:: atomic { second_store[1] != NOT_YET -> second[1] = second_store[1]; second_store[1] = NOT_YET }
#ifdef WRITER_WITHOUT_RELEASE
	:: atomic { head < issued_head -> head++ }
#else
	:: atomic { head < issued_head && RECORDS_ARE_OUT(head + 1) -> head++ }
#endif
	od
}

active proctype reader()
{
	byte known_head, taken;
	byte word[2] = NOT_YET;

	do
	:: taken < known_head && word[0] == NOT_YET -> word[0] = first[SLOT(taken)]
	:: taken < known_head && word[1] == NOT_YET -> word[1] = second[SLOT(taken)]
#ifdef READER_WITHOUT_RELEASE
	:: taken < known_head && issued_tail == taken -> issued_tail++
#endif
	:: taken < known_head && word[0] != NOT_YET && word[1] != NOT_YET ->
		assert(word[0] == taken && word[1] == taken);
		if
		:: issued_tail == taken -> issued_tail++
		:: else
		fi;
		d_step { word[0] = NOT_YET; word[1] = NOT_YET; taken++ }
#ifdef READER_WITHOUT_ACQUIRE
	/* Loads of the next record run ahead of the load of head. */
	:: taken == known_head && word[0] == NOT_YET -> word[0] = first[SLOT(taken)]
	:: taken == known_head && word[1] == NOT_YET -> word[1] = second[SLOT(taken)]
#endif
	:: taken == known_head && head != known_head -> known_head = head
	:: taken == known_head && writer_is_done && taken == issued_head -> break
	od;
	assert(issued_head + dropped == WANTED);
#ifdef BLOCKING
	assert(dropped == 0)
#endif
}

active proctype reader_stores()
{
end:	do
	:: atomic { tail < issued_tail -> tail++ }
	od
}
