package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// The layout of a bbolt file, as far as it must be sound before bbolt looks at
// it: bbolt maps the file and believes what it reads. Numbers are in the
// machine's own byte order.
const (
	pageHeader = 16 // id uint64, flags uint16, count uint16, overflow uint32
	metaSize   = 64

	bboltMagic   = 0xED0CDAED
	bboltVersion = 2

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	noFreelist = math.MaxUint64
)

// meta is a meta page, of which a file has two: commits write them in turn,
// and the valid one with the higher txid counts.
type meta struct {
	pageSize, root, freelist, end, txid uint64
}

// page is the head of a page and the rest of it.
type page struct {
	flags uint16
	count int
	body  []byte
}

// pages reads pages with bounds, for the guard.
type pages struct {
	f    io.ReaderAt
	size int64
	meta
}

// checkPages looks at a locked file.
func checkPages(f *os.File, path string, write bool) (p pages, err error) {
	info, err := f.Stat()
	if err != nil {
		return p, unopened(path, err)
	}
	p = pages{f: f, size: info.Size()}
	if p.meta, err = readMeta(f, p.size); err == nil {
		err = p.checkSize()
	}
	if err == nil && write {
		err = p.checkFreelist()
	}
	switch {
	case errors.Is(err, errForeign):
		return p, token.Errorf(token.ErrCannotTell, "%s is not a store of tokenctl: %w", path, err).
			WithHint("check the path; if it is right, restore a backup")
	case err != nil:
		return p, damaged(path, err)
	}
	return p, nil
}

var errForeign = errors.New("it does not begin as one")

func readMeta(f io.ReaderAt, size int64) (meta, error) {
	m0, err := metaAt(f, 0)
	if err == nil {
		if m1, err := metaAt(f, int64(m0.pageSize)); err == nil && m1.txid > m0.txid && m1.pageSize == m0.pageSize {
			return m1, nil
		}
		return m0, nil
	}
	// As bbolt does, look for the second one where a page may begin.
	for at := int64(1024); at <= 16<<20 && at < size; at *= 2 {
		if m1, err := metaAt(f, at); err == nil && m1.pageSize == uint64(at) {
			return m1, nil
		}
	}
	return meta{}, err
}

func metaAt(f io.ReaderAt, at int64) (meta, error) {
	var b [pageHeader + metaSize]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return meta{}, fmt.Errorf("too short: %w", err)
	}
	m := b[pageHeader:]
	u32, u64 := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
	sum := fnv.New64a()
	sum.Write(m[:56])
	switch {
	case u32(m) != bboltMagic || u32(m[4:]) != bboltVersion:
		return meta{}, errForeign
	case u64(m[56:]) != sum.Sum64():
		return meta{}, errors.New("wrong checksum of a meta page")
	}
	return meta{pageSize: uint64(u32(m[8:])), root: u64(m[16:]), freelist: u64(m[32:]), end: u64(m[40:]), txid: u64(m[48:])}, nil
}

// checkSize makes sure that all pages are in the file: reading a mapped page
// behind its end is a fault.
func (p *pages) checkSize() error {
	switch {
	case p.pageSize < 1024 || p.pageSize > 16<<20 || p.pageSize&(p.pageSize-1) != 0:
		return fmt.Errorf("pages of %d bytes", p.pageSize)
	case p.end < 4 || p.root < 2 || p.root >= p.end || p.freelist != noFreelist && (p.freelist < 2 || p.freelist >= p.end):
		return errors.New("a meta page names pages that cannot be")
	case p.end > uint64(p.size)/p.pageSize:
		return fmt.Errorf("it has %d bytes, %d pages of %d bytes are missing", p.size, p.end-uint64(p.size)/p.pageSize, p.pageSize)
	}
	return nil
}

// page reads one page with its overflow.
func (p *pages) page(id uint64, kinds uint16) (page, error) {
	if id < 2 || id >= p.end {
		return page{}, fmt.Errorf("page %d cannot be", id)
	}
	var head [pageHeader]byte
	if _, err := p.f.ReadAt(head[:], int64(id*p.pageSize)); err != nil {
		return page{}, fmt.Errorf("page %d cannot be read: %w", id, err)
	}
	found := page{flags: binary.NativeEndian.Uint16(head[8:]), count: int(binary.NativeEndian.Uint16(head[10:]))}
	overflow := uint64(binary.NativeEndian.Uint32(head[12:]))
	if binary.NativeEndian.Uint64(head[:]) != id || found.flags&kinds == 0 || found.flags&(found.flags-1) != 0 || overflow >= p.end-id {
		return page{}, fmt.Errorf("page %d is garbled", id)
	}
	if found.flags == leafPage {
		return found, nil // nobody needs its body
	}
	found.body = make([]byte, (overflow+1)*p.pageSize-pageHeader)
	if _, err := p.f.ReadAt(found.body, int64(id*p.pageSize+pageHeader)); err != nil {
		return page{}, fmt.Errorf("page %d cannot be read: %w", id, err)
	}
	return found, nil
}

// checkFreelist makes sure that the list of free pages is one. A writer that
// believes a garbled list writes over pages that are in use.
func (p *pages) checkFreelist() error {
	if p.freelist == noFreelist {
		return nil
	}
	list, err := p.page(p.freelist, freelistPage)
	if err != nil {
		return err
	}
	count, body := uint64(list.count), list.body
	if count == 0xffff {
		count, body = binary.NativeEndian.Uint64(body), body[8:]
	}
	if count > uint64(len(body))/8 {
		return fmt.Errorf("page %d lists %d free pages", p.freelist, count)
	}
	last := uint64(1)
	for ; count > 0; count-- {
		id := binary.NativeEndian.Uint64(body)
		if id <= last || id >= p.end || id == p.root || id == p.freelist {
			return fmt.Errorf("page %d lists page %d as free", p.freelist, id)
		}
		last, body = id, body[8:]
	}
	return nil
}

// smallFile is the size in pages, 4 MiB or some 2,500 tokens as a rule, up to
// which every page is looked at, at 0.3 µs each.
const smallFile = 1024

// checkTree makes sure that no page of a tree leads to one that is already in
// it: bbolt would go round for ever. One flipped bit is enough for that, if it
// leads to one of the old branch pages that lie about among the free ones. In
// big files that is unlikely, and looking at all leaf pages is reading all of
// the file: there the branch pages must do.
func (p *pages) checkTree(root uint64) error {
	seen := make([]uint64, p.end/64+1)
	level, kind := []uint64{root}, uint16(branchPage|leafPage)
	for {
		var below []uint64
		for _, id := range level {
			found, err := p.page(id, kind)
			if err != nil {
				return err
			}
			kind = found.flags // all of a level are of one kind
			if kind == leafPage {
				if p.end > smallFile {
					return nil
				}
				continue
			}
			if found.count == 0 || found.count > len(found.body)/16 {
				return fmt.Errorf("page %d is garbled", id)
			}
			for n := range found.count {
				child := binary.NativeEndian.Uint64(found.body[16*n+8:]) // after pos and ksize, uint32 each
				if child < 2 || child >= p.end || child == root || seen[child/64]>>(child%64)&1 == 1 {
					return fmt.Errorf("page %d leads to page %d", id, child)
				}
				seen[child/64] |= 1 << (child % 64)
				below = append(below, child)
			}
		}
		if len(below) == 0 {
			return nil
		}
		level, kind = below, branchPage|leafPage
	}
}
