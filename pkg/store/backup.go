package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// A backup is the keys and values of one snapshot, which every store can take
// back: a magic text with a version, the Unix time as 8 bytes, then each entry
// as two lengths (varint) with their bytes, then a length of 0, the number of
// entries as 8 bytes, and the SHA-256 of all before. Numbers are big endian.
const backupMagic = "tokenctl backup 1\n"

// maxBackupPart bounds a key or a value, in bytes: far more than any record,
// so that garbage does not ask for all memory.
const maxBackupPart = 1 << 24

// ErrBackup says that something is no backup, or not a whole one.
var ErrBackup error = token.Errorf(token.ErrCannotTell, "damaged backup")

// WriteBackup writes all of a store as it is at one moment. The snapshot is
// held meanwhile: w must not wait for a network or a person.
func WriteBackup(ctx context.Context, s Store, w io.Writer, at time.Time) error {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<18)
	head := binary.BigEndian.AppendUint64([]byte(backupMagic), uint64(at.Unix()))
	if _, err := out.Write(head); err != nil {
		return err
	}
	var entries uint64
	err := s.View(ctx, func(r Reader) error {
		entries = 0
		var lengths []byte
		for e, err := range r.Scan(nil, nil) {
			if err != nil {
				return err
			}
			lengths = binary.AppendUvarint(lengths[:0], uint64(len(e.Key)))
			lengths = binary.AppendUvarint(lengths, uint64(len(e.Value)))
			for _, part := range [][]byte{lengths, e.Key, e.Value} {
				if _, err := out.Write(part); err != nil {
					return err
				}
			}
			if entries++; entries%1024 == 0 && ctx.Err() != nil {
				return ended(ctx)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := out.Write(binary.BigEndian.AppendUint64([]byte{0}, entries)); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

// Backup reads what [WriteBackup] wrote.
type Backup struct {
	Taken time.Time
	in    *bufio.Reader
	sum   hash.Hash
	read  bool
}

// OpenBackup reads the head of a backup.
func OpenBackup(r io.Reader) (*Backup, error) {
	b := &Backup{in: bufio.NewReaderSize(r, 1<<18), sum: sha256.New()}
	head := make([]byte, len(backupMagic)+8)
	if err := b.full(head); err != nil || !bytes.HasPrefix(head, []byte(backupMagic)) {
		return nil, fmt.Errorf("%w: it does not begin like one", ErrBackup)
	}
	b.Taken = time.Unix(int64(binary.BigEndian.Uint64(head[len(backupMagic):])), 0).UTC()
	return b, nil
}

// CheckBackup reads a backup to its end: whether it is whole.
func CheckBackup(r io.Reader) error {
	b, err := OpenBackup(r)
	if err != nil {
		return err
	}
	for _, err := range b.Entries() {
		if err != nil {
			return err
		}
	}
	return nil
}

// Entries yields the entries in the order of their keys, once. They are valid
// until the next one is asked for, and none is to be believed before the last
// one came without an error: only then is the checksum known to be right.
func (b *Backup) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if b.read {
			yield(Entry{}, errors.New("a backup is read once"))
			return
		}
		b.read = true
		var e Entry
		var last []byte
		for n := uint64(0); ; n++ {
			more, err := b.next(&e)
			if err == nil && !more {
				err = b.end(n)
			} else if err == nil && n > 0 && bytes.Compare(last, e.Key) >= 0 {
				err = fmt.Errorf("%w: keys are not in order", ErrBackup)
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !more || !yield(e, nil) {
				return
			}
			last = append(last[:0], e.Key...)
		}
	}
}

// next reads one entry; more is false at the end of all.
func (b *Backup) next(e *Entry) (more bool, err error) {
	size, err := b.length()
	if err != nil || size == 0 {
		return false, err
	}
	valueSize, err := b.length()
	if err != nil {
		return false, err
	}
	e.Key, e.Value = grown(e.Key, size), grown(e.Value, valueSize)
	if err := b.full(e.Key); err != nil {
		return false, err
	}
	return true, b.full(e.Value)
}

func grown(b []byte, size int) []byte {
	if cap(b) < size {
		return make([]byte, size)
	}
	return b[:size]
}

// length reads a number, byte by byte: what is behind it is not ours yet.
func (b *Backup) length() (int, error) {
	n, err := binary.ReadUvarint(summed{b})
	if err != nil || n > maxBackupPart {
		return 0, fmt.Errorf("%w: a length cannot be read", ErrBackup)
	}
	return int(n), nil
}

type summed struct{ *Backup }

func (s summed) ReadByte() (byte, error) {
	c, err := s.in.ReadByte()
	if err == nil {
		s.sum.Write([]byte{c})
	}
	return c, err
}

func (b *Backup) full(p []byte) error {
	if _, err := io.ReadFull(b.in, p); err != nil {
		return fmt.Errorf("%w: it ends too early", ErrBackup)
	}
	b.sum.Write(p)
	return nil
}

// end checks the number of entries and the checksum.
func (b *Backup) end(entries uint64) error {
	count := make([]byte, 8)
	if err := b.full(count); err != nil {
		return err
	}
	want := b.sum.Sum(nil)
	got := make([]byte, len(want))
	if err := b.full(got); err != nil {
		return err
	}
	if _, err := b.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something stands behind its end", ErrBackup)
	}
	if binary.BigEndian.Uint64(count) != entries || !bytes.Equal(got, want) {
		return fmt.Errorf("%w: the checksum is wrong", ErrBackup)
	}
	return nil
}
