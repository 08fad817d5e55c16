package audit

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestListGivesWhatAppendWasGiven(t *testing.T) {
	b := newBench(t, 0)
	full := Entry{
		Time: start.Add(time.Millisecond), Actor: alice, Via: "token 06bxh7m4q0w8s2d4", Owner: bob, Action: "token.revoke",
		Token: token.ID{1, 2, 3}, Kind: "refresh", Object: "CI \x00 ü", Reason: "left\nthe company", Source: "[2001:db8::1]:443", Detail: "x",
		Writer: "forged", Seq: 77,
	}
	least := Entry{Time: start, Action: "store.begin"}
	b.append(b.Log, least, full)
	full.Time, full.Writer, full.Seq = start, "main", 2
	least.Writer, least.Seq = "main", 1
	if diff := cmp.Diff([]Entry{least, full}, b.list(Filter{})); diff != "" {
		t.Error(diff)
	}
}

func TestAppendIsPartOfTheTransaction(t *testing.T) {
	b := newBench(t, 1)
	failed := errors.New("the change failed after all")
	err := b.store.Update(t.Context(), func(w store.Writer) error {
		return errors.Join(b.Append(w, entry(5, start)), failed)
	})
	if !errors.Is(err, failed) || len(b.list(Filter{})) != 2 {
		t.Error(err, b.list(Filter{}))
	}
	b.append(b.Log) // nothing to say
	b.append(b.Log, entry(6, start))
	if r := b.verify(); r.Entries != 3 || len(r.Broken) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAppendTakesOneWritePerEntryAndOneMore(t *testing.T) {
	b := newBench(t, 1)
	b.update(func(w store.Writer) error {
		c := &countingWriter{Writer: w}
		err := b.Append(c, entry(1, start), entry(2, start), entry(3, start))
		if c.n != 4 {
			t.Errorf("%d writes", c.n)
		}
		return err
	})
}

type countingWriter struct {
	store.Writer
	n int
}

func (c *countingWriter) Put(key, value []byte) error {
	c.n++
	return c.Writer.Put(key, value)
}

func (c *countingWriter) Delete(key []byte) error {
	c.n++
	return c.Writer.Delete(key)
}

func TestAppendRefusesWhatCouldNotBeReadBack(t *testing.T) {
	b := newBench(t, 1)
	for name, e := range map[string]Entry{
		"no action":      {Time: start},
		"no time":        {Action: "x"},
		"before 1970":    {Action: "x", Time: time.Unix(0, 0)},
		"after the year": {Action: "x", Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if err := b.store.Update(t.Context(), func(w store.Writer) error { return b.Append(w, e) }); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := b.store.Update(t.Context(), func(w store.Writer) error { return New(b.keys, "").Append(w, entry(1, start)) }); err == nil {
		t.Error("a writer without a name")
	}
	edge := entry(1, time.Unix(lastSecond, 999_999_999))
	b.append(b.Log, edge)
	if r := b.verify(); len(r.Broken) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAppendsAtOnce(t *testing.T) {
	b := newBench(t, 0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			log := New(b.keys, "main") // as another process would
			for i := range 20 {
				if err := b.store.Update(t.Context(), func(w store.Writer) error { return log.Append(w, entry(i, start), entry(i, start)) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if r := b.verify(); r.Entries != 320 || len(r.Broken) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestTextsAreBounded(t *testing.T) {
	b := newBench(t, 0)
	long := strings.Repeat("ü", 2000)
	e := Entry{
		Time: start, Action: long, Actor: token.Owner{Realm: long, Name: long}, Owner: token.Owner{Realm: long, Name: long},
		Via: long, Kind: long, Object: long, Reason: long, Source: long, Detail: "a\xffb",
	}
	b.append(b.Log, e)
	got := b.list(Filter{})[0]
	for _, s := range []string{got.Action, got.Actor.Realm, got.Actor.Name, got.Owner.Realm, got.Owner.Name, got.Via, got.Kind, got.Object, got.Reason, got.Source} {
		if len(s) > maxText || len(s) < maxText-2 || !utf8.ValidString(s) || !strings.HasSuffix(s, cutMark) {
			t.Errorf("%d bytes: …%q", len(s), s[len(s)-20:])
		}
	}
	if got.Detail != "a\uFFFDb" {
		t.Errorf("%q", got.Detail)
	}
	if s := strings.Repeat("x", maxText); bounded(s) != s {
		t.Error("what fits is cut")
	}
}

func TestLine(t *testing.T) {
	e := Entry{
		Writer: "main", Seq: 7, Time: start, Actor: alice, Via: "uid 1000", Owner: token.Owner{Realm: "corp", Name: "Ünal \"x\""}, Action: "token.revoke",
		Token: token.ID{}, Object: "a\nb=c", Reason: "\u202e\x1b[2J", Source: "192.0.2.1",
	}
	const want = `2026-11-22T07:00:00Z writer=main seq=7 action=token.revoke actor=corp/alice via="uid 1000" owner="corp/Ünal \"x\"" object="a\nb=c" reason="\u202e\x1b[2J" source=192.0.2.1`
	if got := e.Line(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\nb", "x y", "\u2028\u0085\r")
	f.Fuzz(func(t *testing.T, name, object, reason string) {
		e := Entry{Time: start, Action: "x", Owner: token.Owner{Realm: "r", Name: name}, Object: object, Reason: reason}
		line := e.Line()
		if strings.ContainsAny(line, "\n\r\v\f\x1b\x00\u0085\u2028\u2029\u202e") || !utf8.ValidString(line) {
			t.Errorf("%q", line)
		}
	})
}

func FuzzReadEntry(f *testing.F) {
	b := newBench(f, 2)
	for kv, err := range store.Pages(f.Context(), b.store, store.NewKey(store.TableAudit), 100) {
		b.must(err)
		f.Add(append([]byte(nil), kv.Key...), append([]byte(nil), kv.Value...), false)
		f.Add(append([]byte(nil), kv.Key...), append([]byte(nil), kv.Value[1:len(kv.Value)-4]...), true)
	}
	f.Fuzz(func(t *testing.T, key, value []byte, seal bool) {
		if seal { // a right checksum lets the fuzzer through to the fields
			value = store.Marshal(key, linkVersion, func(e *store.Encoder) {
				e.Uint(1)
				e.Bytes(make([]byte, macSize))
				e.Bytes(store.Marshal(key, entryVersion, func(e *store.Encoder) { e.Bytes(value) }))
			})
		}
		e, n, err := readEntry(key, value)
		if err != nil {
			if !errors.Is(err, token.ErrCannotTell) {
				t.Errorf("%v", err)
			}
			return
		}
		_ = e.Line()
		if ok, _ := (&macs{keys: b.keys}).follows(n, nil, e.Writer, e.Seq); ok && (e.Seq != 1 || e.Actor != alice) {
			t.Errorf("accepted %+v, which nobody wrote", e)
		}
	})
}

func BenchmarkAppend(t *testing.B) {
	b := newBench(t, 1)
	e := entry(1, start)
	t.ReportAllocs()
	for t.Loop() {
		b.append(b.Log, e)
	}
}

func BenchmarkVerify(t *testing.B) {
	b := newBench(t, 5000)
	t.ReportAllocs()
	for t.Loop() {
		if r := b.verify(); r.Entries != 10_000 {
			t.Fatal(r)
		}
	}
}

func BenchmarkList(t *testing.B) {
	b := newBench(t, 5000)
	for _, last := range []int{0, 10} {
		t.Run(fmt.Sprint("last ", last), func(t *testing.B) {
			t.ReportAllocs()
			for t.Loop() {
				for _, err := range b.List(t.Context(), b.store, Filter{Last: last}) {
					b.must(err)
				}
			}
		})
	}
}
