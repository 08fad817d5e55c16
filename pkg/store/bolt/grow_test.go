package bolt_test

import (
	"encoding/binary"
	"sync"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
)

// Readers come and go while the file grows: bbolt's remap waits for the open
// ones, and new ones wait for the remap.
func TestViewsWhileTheFileGrows(t *testing.T) {
	path := t.TempDir() + "/d/tokens.db"
	if err := bolt.Create(path); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(bolt.Options{Path: path, Exclusive: true, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				_ = s.View(t.Context(), func(r store.Reader) error {
					n := 0
					for range r.Scan([]byte("t"), nil) {
						if n++; n == 200 {
							break
						}
					}
					return nil
				})
			}
		})
	}
	for i := range 300 {
		key := binary.BigEndian.AppendUint64([]byte("t"), uint64(i))
		if err := s.Update(t.Context(), func(w store.Writer) error { return w.Put(key, make([]byte, 20_000)) }); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
}
