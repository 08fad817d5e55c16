package ldap

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

// BenchmarkSurvey asks about owners of whom one in twenty is gone; a purge of
// 200,000 takes as long as this says.
func BenchmarkSurvey(b *testing.B) {
	const there, asked = 19_000, 20_000
	s := slapd.Start(b, slapd.Options{People: there, Quiet: true})
	owners := people(asked)
	for _, batch := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint("batch ", batch), func(b *testing.B) {
			d := open(b, options(s), withCanary, func(o *Options) { o.Batch = batch })
			for b.Loop() {
				f, err := directory.Survey(context.Background(), d, known(owners))
				if err != nil || f.Present != there {
					b.Fatal(f.Present, err)
				}
			}
			b.ReportMetric(asked*float64(b.N)/b.Elapsed().Seconds(), "owners/s")
		})
	}
	b.Run("memory of 200,000", func(b *testing.B) {
		d := open(b, options(s), withCanary)
		for b.Loop() {
			var before, now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			peak := uint64(0)
			f, err := directory.Survey(context.Background(), d, func(yield func(directory.Known, error) bool) {
				for i := range 10 * asked {
					if i%20_000 == 19_999 {
						runtime.GC()
						runtime.ReadMemStats(&now)
						peak = max(peak, now.HeapAlloc)
					}
					if !yield(directory.Known{Owner: owners[i%asked]}, nil) {
						return
					}
				}
			})
			if err != nil || f.Present != 10*there {
				b.Fatal(f.Present, err)
			}
			b.ReportMetric(float64(int64(peak)-int64(before.HeapAlloc))/(1<<20), "MiB-live")
		}
		b.ReportMetric(10*asked*float64(b.N)/b.Elapsed().Seconds(), "owners/s")
	})
}
