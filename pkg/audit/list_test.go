package audit

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// A model of List: all entries, sorted, filtered, cut.
func model(all []Entry, f Filter) []Entry {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	all = slices.DeleteFunc(all, func(e Entry) bool { return !f.Match(&e) })
	if f.Last > 0 {
		all = all[max(len(all)-f.Last, 0):]
	}
	return all
}

func TestListFilters(t *testing.T) {
	const n = 600 // more than two pages a writer
	b := newBench(t, n)
	var all []Entry
	for i := range n {
		at := start.Add(time.Duration(i) * 10 * time.Second)
		for _, writer := range []string{"main", "other"} {
			e := entry(i, at)
			e.Writer, e.Seq = writer, uint64(i+1)
			all = append(all, e)
			at = at.Add(5 * time.Second)
		}
	}
	for name, tt := range map[string]struct {
		f    Filter
		want int
	}{
		"all":                       {Filter{}, 2 * n},
		"since":                     {Filter{Since: start.Add(10 * time.Second)}, 2*n - 2},
		"until":                     {Filter{Until: start.Add(10 * time.Second)}, 2},
		"since and until":           {Filter{Since: start.Add(5 * time.Second), Until: start.Add(10 * time.Second)}, 1},
		"never":                     {Filter{Since: start.Add(time.Second), Until: start.Add(2 * time.Second)}, 0},
		"actor":                     {Filter{Actor: alice}, n},
		"owner":                     {Filter{Owner: bob}, 2 * n},
		"nobody's":                  {Filter{Owner: alice}, 0},
		"name in another realm":     {Filter{Owner: token.Owner{Realm: "local", Name: "bob"}}, 0},
		"action":                    {Filter{Action: "token.generate"}, n},
		"beginning of an action":    {Filter{Action: "account."}, n},
		"token":                     {Filter{Token: token.ID{1, 3, 1}}, 2}, // 259
		"last":                      {Filter{Last: 7}, 7},
		"last, over a page":         {Filter{Last: 700}, 700},
		"last, more than there are": {Filter{Last: 10 * n}, 2 * n},
		"last of an actor":          {Filter{Actor: bob, Last: 5}, 5},
		"last far back":             {Filter{Until: start.Add(100 * time.Second), Last: 3}, 3},
		"last of none":              {Filter{Token: token.ID{9}, Last: 3}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.list(tt.f)
			if len(got) != tt.want {
				t.Errorf("%d entries, want %d", len(got), tt.want)
			}
			if diff := cmp.Diff(model(all, tt.f), got, cmp.Transformer("nil", func(e []Entry) []Entry { return slices.Clip(append([]Entry{}, e...)) })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestListOfNothing(t *testing.T) {
	b := newBench(t, 0)
	if got := append(b.list(Filter{}), b.list(Filter{Last: 3})...); len(got) != 0 {
		t.Error(got)
	}
}

func TestListStopsAndMayWrite(t *testing.T) {
	b := newBench(t, 300)
	count := 0
	for e, err := range b.List(t.Context(), b.store, Filter{}) {
		b.must(err)
		b.append(b.Log, entry(count, e.Time)) // the loop's body may use the store
		if count++; count == 280 {
			break
		}
	}
	if r := b.verify(); r.Entries != 880 || len(r.Broken) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestLastReadsNoMoreThanItMust(t *testing.T) {
	b := newBench(t, 2000)
	c := &countingStore{Store: b.store}
	for _, err := range b.List(t.Context(), c, Filter{Last: 10}) {
		b.must(err)
	}
	if c.entries > 3*pageSize {
		t.Errorf("%d entries were read for the last 10", c.entries)
	}
}

func TestListAfterPruning(t *testing.T) {
	b := newBench(t, 900)
	if _, err := b.Prune(t.Context(), b.store, start.Add(6000*time.Second), Entry{Time: start.Add(9000 * time.Second)}); err != nil {
		t.Fatal(err)
	}
	all, last := b.list(Filter{}), b.list(Filter{Last: 100_000})
	if len(all) != 604 || cmp.Diff(all, last) != "" { // 2 × 300, and 4 that tell of pruning
		t.Errorf("%d and %d entries", len(all), len(last))
	}
}

func TestListTellsOfDamage(t *testing.T) {
	b := newBench(t, 3)
	b.tamper(func(r raw) { r.put(entryKey("main", 2), []byte("garbled")) })
	for _, f := range []Filter{{}, {Last: 5}} {
		var last error
		for _, err := range b.List(t.Context(), b.store, f) {
			last = err
		}
		if last == nil {
			t.Error("a damaged entry was passed over")
		}
	}
}
