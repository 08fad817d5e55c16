package bolt

import (
	"bytes"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// appendFill and otherFill are how full bbolt leaves the pages that it splits.
// A table that grew only at its end, as those with ids in front do, wants full
// ones, with room for records to grow by a field. Sorted records of 100 bytes
// took 1.33 times their bytes with 0.9 and 1.18 times with 1.0; after 10 % of
// them had grown by 40 bytes, 1.33 and 2.34 times. At random places keys of 50
// bytes took 1.9 times theirs with 0.5, bbolt's default, and 3.9 with 0.9.
const (
	appendFill = 0.9
	otherFill  = bbolt.DefaultFillPercent
)

// snapshot is a bbolt transaction and what it has opened. There is a bucket
// for each first byte of a key, so that tables of different habits do not
// share pages; the keys in it are whole.
type snapshot struct {
	file   *file
	tx     *bbolt.Tx
	tables []*table
	damage *token.Error // the first that was met: the transaction fails with it, even if fn does not care
	few    [4]*table    // with first, spares allocations
	first  [4]table
}

type table struct {
	name   byte
	bucket *bbolt.Bucket // nil if there is none
	cursor *bbolt.Cursor // for Get, whose work it spares the next time

	// For Updates: the key of the last Put, and whether all were behind all
	// keys there were.
	last     []byte
	appended bool
}

func (s *snapshot) table(name byte) *table {
	for _, t := range s.tables {
		if t.name == name {
			return t
		}
	}
	var t *table
	if n := len(s.tables); n < len(s.first) {
		t = &s.first[n]
	} else {
		t = new(table)
	}
	t.name, t.bucket = name, s.tx.Bucket([]byte{name})
	if t.bucket != nil {
		t.cursor = t.bucket.Cursor()
	}
	if s.tables == nil {
		s.tables = s.few[:0]
	}
	s.tables = append(s.tables, t)
	return t
}

// caught turns a panic of bbolt into an error; it must be deferred.
func (s *snapshot) caught(err *error) {
	if p := recover(); p != nil {
		*err = s.harmed(p)
	}
}

func (s *snapshot) harmed(what any) error {
	if s.damage == nil {
		s.damage = s.file.harmed(what)
	}
	return s.damage
}

// faultless must be deferred around a function of the user's, who may read
// bytes of pages that the file has lost. Any other panic is the user's own.
func (s *snapshot) faultless(err *error) {
	switch p := recover().(type) {
	case nil:
	case fault:
		*err = s.harmed(p)
	default:
		panic(p)
	}
}

// entry checks what bbolt read: a garbled length may reach beyond the file, to
// anything that the process has in its memory.
func (s *snapshot) entry(k, v []byte) (store.Entry, error) {
	if int64(len(k))+int64(len(v)) > s.tx.Size() {
		return store.Entry{}, s.harmed(fmt.Sprintf("an entry of %d bytes", len(k)+len(v)))
	}
	if v == nil {
		v = []byte{}
	}
	return store.Entry{Key: k, Value: v}, nil
}

type reader struct {
	*snapshot
	ended bool
	scans int // loops under way
}

var errEnded error = token.Errorf(token.ErrUsage, "a transaction used after its end")

func (r *reader) run(fn func(store.Reader) error) (err error) {
	defer func() { r.ended = true }()
	defer r.faultless(&err)
	if err := fn(r); err != nil {
		return err
	}
	if r.damage != nil {
		return r.damage
	}
	return nil
}

func (r *reader) Get(key []byte) (value []byte, err error) {
	if r.ended {
		return nil, errEnded
	}
	if len(key) == 0 {
		return nil, store.ErrNotFound
	}
	defer r.caught(&err)
	t := r.table(key[0])
	if t.bucket == nil {
		return nil, store.ErrNotFound
	}
	k, v := t.cursor.Seek(key)
	if !bytes.Equal(k, key) {
		return nil, store.ErrNotFound
	}
	e, err := r.entry(k, v)
	return e.Value, err
}

func (r *reader) Scan(prefix, after []byte) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		if r.ended {
			yield(store.Entry{}, errEnded)
			return
		}
		r.scans++
		defer func() { r.scans-- }()
		w := walk{snapshot: r.snapshot, prefix: prefix, after: after}
		for {
			e, err := w.next()
			if err != nil {
				yield(store.Entry{}, err)
				return
			}
			if e.Key == nil || !yield(e, nil) {
				return
			}
		}
	}
}

// walk goes over the tables and the keys in them.
type walk struct {
	*snapshot
	prefix, after []byte
	tables        *bbolt.Cursor // if there are several to go over
	cursor        *bbolt.Cursor // in the present one
	last          []byte
	done          bool
}

// next returns the next entry, or one without key at the end. It is a call of
// its own so that a panic in it, unlike one in the loop's body, is bbolt's.
func (w *walk) next() (e store.Entry, err error) {
	defer w.caught(&err)
	for !w.done {
		var k, v []byte
		if w.cursor == nil {
			if !w.open() {
				break
			}
			if k, v = w.cursor.Seek(w.from()); k != nil && w.after != nil && bytes.Equal(k, w.after) {
				k, v = w.cursor.Next()
			}
		} else {
			k, v = w.cursor.Next()
		}
		if k != nil && bytes.Compare(k, w.last) <= 0 {
			return e, w.harmed("keys out of order")
		}
		w.last = k
		if k != nil && bytes.HasPrefix(k, w.prefix) {
			return w.entry(k, v)
		}
		w.cursor = nil
		w.done = len(w.prefix) > 0
	}
	w.done = true
	return store.Entry{}, nil
}

// from is the first key that may be yielded, or after itself.
func (w *walk) from() []byte {
	if bytes.Compare(w.after, w.prefix) > 0 {
		return w.after
	}
	return w.prefix
}

// open takes the next table.
func (w *walk) open() bool {
	if len(w.prefix) > 0 {
		b := w.table(w.prefix[0]).bucket
		if b == nil {
			return false
		}
		w.cursor = b.Cursor()
		return true
	}
	var name []byte
	if w.tables == nil {
		w.tables = w.tx.Cursor()
		name, _ = w.tables.Seek(w.after[:min(1, len(w.after))])
	} else {
		name, _ = w.tables.Next()
	}
	for len(name) > 1 { // the header
		name, _ = w.tables.Next()
	}
	if name == nil {
		return false
	}
	w.cursor = w.table(name[0]).bucket.Cursor()
	return true
}

type writer struct {
	reader
	batch  *batch
	writes int
	failed error // the first write that failed: the Update fails with it

	// Where others have written in the same bbolt transaction, what it takes
	// to undo ours alone.
	undoable bool
	undo     []change
}

// change is what a key held before a write.
type change struct {
	key, value []byte
	had        bool
}

func (w *writer) run(fn func(store.Writer) error) (err error) {
	defer func() { w.ended = true }()
	defer w.faultless(&err)
	switch err := fn(w); {
	case err != nil:
		return err
	case w.damage != nil:
		return w.damage
	default:
		return w.failed
	}
}

func (w *writer) Put(key, value []byte) (err error) {
	switch {
	case len(key) == 0:
		err = token.Errorf(token.ErrUsage, "a write with an empty key")
	case len(key) > bbolt.MaxKeySize:
		err = token.Errorf(token.ErrUsage, "a key of %d bytes, more than %d", len(key), bbolt.MaxKeySize)
	case int64(len(value)) > bbolt.MaxValueSize:
		err = token.Errorf(token.ErrUsage, "a value of %d bytes, more than %d", len(value), bbolt.MaxValueSize)
	}
	if err := w.admit(err); err != nil {
		return err
	}
	defer w.caught(&err)
	return w.put(key, value)
}

func (w *writer) put(key, value []byte) (err error) {
	t := w.table(key[0])
	if t.bucket == nil {
		if t.bucket, err = w.tx.CreateBucketIfNotExists(key[:1]); err != nil {
			return w.harmed(err)
		}
		t.cursor = t.bucket.Cursor()
	}
	w.remember(t, key)
	kept := w.batch.keep(key, value)
	if t.last == nil {
		// Not Last: in bbolt 1.5.0 that never returns once the transaction has
		// emptied all leaf pages of a bucket.
		k, _ := t.cursor.Seek(key)
		t.appended = k == nil
	}
	if t.appended && bytes.Compare(key, t.last) > 0 {
	} else {
		t.appended = false
	}
	t.last = kept[:len(key)]
	t.bucket.FillPercent = otherFill
	if t.appended {
		t.bucket.FillPercent = appendFill
	}
	if err := t.bucket.Put(key, kept[len(key):]); err != nil {
		return w.harmed(err)
	}
	return nil
}

func (w *writer) Delete(key []byte) (err error) {
	if err := w.admit(nil); err != nil || len(key) == 0 {
		return err
	}
	defer w.caught(&err)
	t := w.table(key[0])
	if t.bucket == nil {
		return nil
	}
	w.remember(t, key)
	if err := t.bucket.Delete(key); err != nil {
		return w.harmed(err)
	}
	return nil
}

// admit counts a write, unless err or the state of the transaction forbids it.
func (w *writer) admit(err error) error {
	switch {
	case w.ended:
		return errEnded
	case w.scans > 0:
		err = token.Errorf(token.ErrUsage, "a write inside the loop over a Scan")
	case w.writes == limit:
		err = token.Errorf(token.ErrUsage, "more than %d writes in one transaction", limit)
	case w.damage != nil:
		err = w.damage
	}
	if err == nil {
		w.writes++
	} else if w.failed == nil {
		w.failed = err
	}
	return err
}

func (w *writer) remember(t *table, key []byte) {
	if !w.undoable {
		return
	}
	c := change{key: bytes.Clone(key)}
	if k, v := t.cursor.Seek(key); bytes.Equal(k, key) {
		c.value, c.had = v, true
	}
	w.undo = append(w.undo, c)
}

// takeBack undoes the writes, the last one first. The values need no copies:
// bbolt keeps the pages of a transaction as they were until it commits.
func (w *writer) takeBack() (err error) {
	defer w.caught(&err)
	for i := len(w.undo) - 1; i >= 0; i-- {
		c := w.undo[i]
		b := w.table(c.key[0]).bucket
		if c.had {
			err = b.Put(c.key, c.value)
		} else {
			err = b.Delete(c.key)
		}
		if err != nil {
			return w.harmed(err)
		}
	}
	return nil
}
