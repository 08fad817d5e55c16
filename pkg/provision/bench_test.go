package provision

import (
	"path/filepath"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
)

// BenchmarkDeliver is what a delivery costs besides the other system: two
// transactions in a file. A thousand are due at once.
func BenchmarkDeliver(b *testing.B) {
	path := filepath.Join(b.TempDir(), "tokens.db")
	must(b, bolt.Create(path))
	s, err := bolt.Open(bolt.Options{Path: path, Exclusive: true})
	must(b, err)
	defer s.Close()
	w := newWorld(b, s, newSystem("a", 0))
	const n = 1000
	w.fill("imap", n)
	for b.Loop() {
		w.update(func(tx store.Writer) error { return ReconcileService(tx, "imap") })
		if pending, err := w.Once(background); len(pending) > 0 || err != nil {
			b.Fatal(pending, err)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "deliveries/s")
}
