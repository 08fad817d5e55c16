package bolt

import (
	"runtime/debug"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// batch is one bbolt transaction for the Updates of one commit.
type batch struct {
	store    *Store
	file     *file
	snapshot *snapshot // nil until the first Update, and after an end
	calls    []*call   // whose Updates have run in it
	writes   int
	memory   []byte // what bbolt will write must stay till the commit
	spoiled  error  // damage was met: nothing of it all is written
}

// run calls fn in the transaction. When it returns an error nothing of fn is
// left in there.
func (b *batch) run(fn func(store.Writer) error) error {
	if b.spoiled != nil {
		return b.spoiled
	}
	if err := b.begin(); err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	w := &writer{reader: reader{snapshot: b.snapshot}, batch: b, undoable: b.writes > 0}
	kept := false
	defer func() { // also when fn panics
		if !kept {
			b.forget(w)
		}
	}()
	if err := w.run(fn); err != nil {
		return err
	}
	kept = true
	b.writes += w.writes
	return nil
}

func (b *batch) begin() error {
	if b.snapshot != nil {
		return nil
	}
	if err := b.store.writable(); err != nil {
		return err
	}
	tx, err := b.file.begin(true)
	if err != nil {
		return err
	}
	b.snapshot = &snapshot{file: b.file, tx: tx}
	return nil
}

// forget takes the writes of one Update out of the transaction. If damage was
// met the transaction is given up, with what others wrote in it.
func (b *batch) forget(w *writer) {
	if w.damage == nil {
		switch {
		case w.writes == 0:
			return
		case b.writes == 0:
			b.abandon()
			return
		case w.takeBack() == nil:
			return
		}
	}
	b.spoiled = w.damage
	b.abandon()
}

// commit ends the transaction. One that wrote nothing costs no fsync.
func (b *batch) commit() error {
	if b.spoiled != nil {
		return b.spoiled
	}
	if b.writes == 0 {
		b.abandon()
		return nil
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	b.store.generation.Add(1)
	err := b.file.commit(b.snapshot.tx)
	b.store.generation.Add(1)
	b.snapshot = nil
	if err == nil {
		return nil
	}
	// bbolt does not say how far it got. Even if the file looks as before, a
	// second fsync after one that failed proves nothing.
	unknown := token.Errorf(store.ErrOutcomeUnknown, "whether %s holds the change is unknown: %w", b.file.path, err).
		WithHint("look before you try again")
	b.store.halted.CompareAndSwap(nil, unknown)
	return unknown
}

// abandon ends the transaction without writing.
func (b *batch) abandon() {
	if b.snapshot != nil {
		b.file.rollback(b.snapshot.tx)
		b.snapshot = nil
	}
}

// keep copies a key and its value to where they stay, one allocation for many.
func (b *batch) keep(key, value []byte) []byte {
	size := len(key) + len(value)
	if size > cap(b.memory)-len(b.memory) {
		b.memory = make([]byte, 0, max(size, min(2*cap(b.memory), 64<<10), 512))
	}
	at := len(b.memory)
	b.memory = append(append(b.memory, key...), value...)
	return b.memory[at:len(b.memory):len(b.memory)]
}
