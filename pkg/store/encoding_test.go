package store_test

import (
	"encoding/hex"
	"errors"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// kind is one of the kinds of record: how any of it is written to a store, and
// how what stands under a key of such a record is read.
type kind struct {
	name string
	// write puts a record and says how it is read back.
	write func(*rapid.T, store.Writer) (key store.Key, want any, err error)
	// sample is the key of a record with the given name.
	sample func(name string) store.Key
	read   func(store.Reader, string) (any, error)
}

var kinds = []kind{
	{
		"token",
		func(t *rapid.T, w store.Writer) (store.Key, any, error) {
			r := someRecord.Draw(t, "record")
			return tokenKey(r.ID), r, store.PutToken(w, nil, &r)
		},
		func(name string) store.Key { return tokenKey(named(name)) },
		func(r store.Reader, name string) (any, error) { return store.GetToken(r, named(name)) },
	},
	{
		"use",
		func(t *rapid.T, w store.Writer) (store.Key, any, error) {
			id, u := someID.Draw(t, "id"), someUse.Draw(t, "use")
			return store.NewKey('u').ID(id), u, store.PutUse(w, id, u)
		},
		func(name string) store.Key { return store.NewKey('u').ID(named(name)) },
		func(r store.Reader, name string) (any, error) { return store.GetUse(r, named(name)) },
	},
	{
		"account",
		func(t *rapid.T, w store.Writer) (store.Key, any, error) {
			a := someAccount.Draw(t, "account")
			return store.NewKey('c').Text("account").Owner(a.Owner), a, store.Accounts.Put(w, a)
		},
		func(name string) store.Key { return store.NewKey('c').Text("account").Text(name).Text(name) },
		func(r store.Reader, name string) (any, error) { return store.Accounts.Get(r, name, name) },
	},
	{
		"connection",
		func(t *rapid.T, w store.Writer) (store.Key, any, error) {
			c := someConnection.Draw(t, "connection")
			return store.NewKey('c').Text("connection").Text(c.Name), c, store.Connections.Put(w, c)
		},
		func(name string) store.Key { return store.NewKey('c').Text("connection").Text(name) },
		func(r store.Reader, name string) (any, error) { return store.Connections.Get(r, name) },
	},
	{
		"provider",
		func(t *rapid.T, w store.Writer) (store.Key, any, error) {
			p := someProvider.Draw(t, "provider")
			return store.NewKey('c').Text("provider").Text(p.Name), p, store.Providers.Put(w, p)
		},
		func(name string) store.Key { return store.NewKey('c').Text("provider").Text(name) },
		func(r store.Reader, name string) (any, error) { return store.Providers.Get(r, name) },
	},
	{
		"policy",
		func(t *rapid.T, w store.Writer) (store.Key, any, error) {
			p := somePolicy.Draw(t, "policy")
			return store.NewKey('c').Text("policy"), p, store.Policies.Put(w, p)
		},
		func(string) store.Key { return store.NewKey('c').Text("policy") },
		func(r store.Reader, _ string) (any, error) { return store.Policies.Get(r) },
	},
}

func tokenKey(id token.ID) store.Key { return store.NewKey('t').ID(id) }

func named(name string) (id token.ID) {
	copy(id[:], name)
	return id
}

// put puts the value that stands under one key of a kind under another.
func (k kind) put(t fataler, name string, value []byte) store.Store {
	s := memory.New()
	update(t, s, func(w store.Writer) error { return w.Put(k.sample(name), value) })
	return s
}

func (k kind) readFrom(t fataler, s store.Store, name string) (v any, err error) {
	view(t, s, func(r store.Reader) error {
		v, err = k.read(r, name)
		return nil
	})
	return v, err
}

func TestRecordsAreReadBack(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := memory.New()
				var key store.Key
				var want any
				update(t, s, func(w store.Writer) (err error) {
					key, want, err = k.write(t, w)
					return err
				})
				var got any
				view(t, s, func(r store.Reader) (err error) {
					got, err = reread(r, k.name, key, want)
					return err
				})
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatal(diff)
				}
			})
		})
	}
}

// reread reads the record that want is, by the key's own components.
func reread(r store.Reader, name string, key store.Key, want any) (any, error) {
	switch name {
	case "token":
		return store.GetToken(r, want.(token.Record).ID)
	case "use":
		return store.GetUse(r, store.ReadKey(key).ID())
	case "account":
		o := want.(token.Account).Owner
		return store.Accounts.Get(r, o.Realm, o.Name)
	case "connection":
		return store.Connections.Get(r, want.(token.Connection).Name)
	case "provider":
		return store.Providers.Get(r, want.(token.Provider).Name)
	}
	return store.Policies.Get(r)
}

// values are the values of one record of each kind, as they stand under the
// name "a".
func values(t *testing.T) map[string][]byte {
	s := memory.New()
	rec := refreshToken(7, alice, "ci")
	rec.Family = &token.Family{Tag: "tag", Retries: []token.Retry{{Verifier: secret.Verifier("older"), Until: at(8), Sealed: []byte("sealed")}}}
	rec.ID, rec.CreatedBy, rec.SuspendedAt, rec.RotatedAt, rec.Previous = named("a"), bob, at(9), at(8), secret.Verifier("old")
	put(t, s, rec)
	update(t, s, func(w store.Writer) error {
		return errors.Join(
			store.PutUse(w, rec.ID, token.Use{At: at(9), From: "192.0.2.1"}),
			store.Accounts.Put(w, token.Account{Owner: token.Owner{Realm: "a", Name: "a"}, Kind: token.Person, Roles: []token.Role{"reader"}, CreatedAt: at(0)}),
			store.Connections.Put(w, token.NewConnection("a")),
			store.Providers.Put(w, token.NewProvider("a")),
			store.Policies.Put(w, token.DefaultPolicy()),
		)
	})
	all := map[string][]byte{}
	stored := dump(t, s)
	for _, k := range kinds {
		v, ok := stored[string(k.sample("a"))]
		if !ok {
			t.Fatalf("there is no %s", k.name)
		}
		all[k.name] = []byte(v)
	}
	return all
}

func TestEveryBitFlipIsNoticed(t *testing.T) {
	all := values(t)
	for _, k := range kinds {
		value := all[k.name]
		for bit := range 8 * len(value) {
			flipped := append([]byte(nil), value...)
			flipped[bit/8] ^= 1 << (bit % 8)
			if v, err := k.readFrom(t, k.put(t, "a", flipped), "a"); !errors.Is(err, store.ErrDamaged) || !errors.Is(err, token.ErrCannotTell) {
				t.Fatalf("%s with bit %d flipped is read as %+v, %v", k.name, bit, v, err)
			}
		}
		for size := range len(value) {
			if v, err := k.readFrom(t, k.put(t, "a", value[:size]), "a"); !errors.Is(err, store.ErrDamaged) {
				t.Fatalf("%s cut to %d bytes is read as %+v, %v", k.name, size, v, err)
			}
		}
		if v, err := k.readFrom(t, k.put(t, "a", append(value, 0)), "a"); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%s with a byte more is read as %+v, %v", k.name, v, err)
		}
	}
}

// A value that stands under the key of another record, of its own kind or of
// any other, is not taken for that record.
func TestMovedValueIsNoticed(t *testing.T) {
	all := values(t)
	for _, from := range kinds {
		for _, to := range kinds {
			for _, name := range []string{"a", "b"} {
				if from.name == to.name && (name == "a" || to.name == "policy") {
					continue
				}
				if v, err := to.readFrom(t, to.put(t, name, all[from.name]), name); !errors.Is(err, store.ErrDamaged) {
					t.Errorf("%s under the key of %s %s is read as %+v, %v", from.name, to.name, name, v, err)
				}
			}
		}
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	for _, k := range kinds {
		for _, version := range []byte{0, 9, 255} {
			value := store.Marshal(k.sample("a"), version, func(*store.Encoder) {})
			if v, err := k.readFrom(t, k.put(t, "a", value), "a"); !errors.Is(err, store.ErrNewer) || !errors.Is(err, token.ErrCannotTell) {
				t.Errorf("version %d of %s is read as %+v, %v", version, k.name, v, err)
			}
		}
	}
}

// The bytes of version 1, which every later version reads. They were made by
// hand from the description in encoding.go, and the checksum by another
// program.
func TestGoldenRecord(t *testing.T) {
	key := tokenKey(named("0123456789"))
	value, err := hex.DecodeString("01" + "b604" + "03" + "05" + "01" +
		"056c6f63616c" + "05616c696365" + // owner
		"f0a58ad806" + // made
		"f0c88fd806" + // expires
		"026369" + // name
		"0764656661756c74" + "0775726e3a783a79" + // connection and audience
		"01" + "06726561646572" + // roles
		"0401020304" + // verifier
		"1ce0c129")
	must(t, err)
	s := memory.New()
	update(t, s, func(w store.Writer) error { return w.Put(key, value) })
	want := token.Record{
		ID: named("0123456789"), Kind: token.Refresh, Owner: alice, CreatedBy: alice, Name: "ci", Connection: "default", Audience: "urn:x:y",
		Roles: []token.Role{"reader"}, CreatedAt: time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC), ExpiresAt: time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC),
		Verifier: secret.Verifier{1, 2, 3, 4}, LastChange: token.Made, Revision: 5,
	}
	view(t, s, func(r store.Reader) error {
		got, err := store.GetToken(r, want.ID)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		return err
	})
	put(t, s, want)
	if got := dump(t, s)[string(key)]; got != string(value) {
		t.Errorf("it is written as %x", got)
	}
}

// Connections of before rotation, and of before client secrets, are read as what
// they were: without either.
func TestOldConnections(t *testing.T) {
	key := store.NewKey('c').Text("connection").Text("crm")
	want := token.NewConnection("crm")
	want.CreatedAt, want.Revision = at(0), 7
	first := func(e *store.Encoder) {
		e.String("crm")
		e.String("urn:tokenctl:crm")
		e.Duration(time.Hour)
		e.String(token.DefaultRoleClaim)
		e.Roles(nil)
		e.String("EdDSA")
		e.Time(at(0))
		e.Uint(7)
	}
	for version, fill := range map[byte]func(*store.Encoder){
		1: first,
		2: func(e *store.Encoder) {
			first(e)
			e.Bool(false)
			e.String("revoke")
			e.Duration(30 * time.Second)
		},
	} {
		s := memory.New()
		update(t, s, func(w store.Writer) error { return w.Put(key, store.Marshal(key, version, fill)) })
		view(t, s, func(r store.Reader) error {
			got, err := store.Connections.Get(r, "crm")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("version %d: %s", version, diff)
			}
			return err
		})
	}
}

// Times are kept in whole seconds from 1970 to 9999, and nothing outside
// becomes the zero time, which means never.
func TestTimesAtTheEdges(t *testing.T) {
	for given, want := range map[time.Time]time.Time{
		{}:                                  {},
		time.Unix(0, 0):                     time.Unix(1, 0),
		time.Unix(-5, 0):                    time.Unix(1, 0),
		time.Unix(1, 999_999_999):           time.Unix(1, 0),
		time.Unix(253402300799, 0):          time.Unix(253402300799, 0),
		start.In(time.FixedZone("x", 3600)): start,
	} {
		s := memory.New()
		update(t, s, func(w store.Writer) error { return store.PutUse(w, token.ID{}, token.Use{At: given}) })
		view(t, s, func(r store.Reader) error {
			if u, err := store.GetUse(r, token.ID{}); !u.At.Equal(want) || u.At.IsZero() != want.IsZero() || err != nil {
				t.Errorf("%s is read as %s, %v", given, u.At, err)
			}
			return nil
		})
	}
	for name, fields := range map[string]func(*store.Encoder){
		"the year 10000":         func(e *store.Encoder) { e.Uint(253402300800); e.String("") },
		"the end of the numbers": func(e *store.Encoder) { e.Uint(math.MaxUint64); e.String("") },
	} {
		if v, err := readUse(t, fields); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%s is read as %+v, %v", name, v, err)
		}
	}
}

func readUse(t fataler, fields func(*store.Encoder)) (any, error) {
	use := kinds[1]
	return use.readFrom(t, use.put(t, "a", store.Marshal(use.sample("a"), 1, fields)), "a")
}

func TestNumbers(t *testing.T) {
	for _, n := range []uint64{0, 1, 127, 128, 1 << 32, math.MaxUint64 - 1, math.MaxUint64} {
		value := store.Marshal(store.NewKey('k'), 1, func(e *store.Encoder) { e.Uint(n) })
		err := store.Unmarshal(store.NewKey('k'), value, 1, func(d *store.Decoder) {
			if got := d.Uint(); got != n {
				t.Errorf("%d is read as %d", n, got)
			}
		})
		must(t, err)
	}
	// Ten bytes hold 70 bits: the last may be 0 or 1, no more.
	for _, last := range []byte{2, 0x7f, 0x80, 0xff} {
		value := store.Marshal(store.NewKey('k'), 1, func(e *store.Encoder) {
			for range 9 {
				e.Raw(0xff)
			}
			e.Raw(last)
			e.Raw(1)
		})
		err := store.Unmarshal(store.NewKey('k'), value, 1, func(d *store.Decoder) { d.Uint(); d.Uint() })
		if !errors.Is(err, store.ErrDamaged) {
			t.Errorf("a number of over 64 bits: %v", err)
		}
	}
}

// A length or count that goes beyond the value is damage, and no reason to ask
// for memory.
func TestLengthsBeyondTheValue(t *testing.T) {
	for _, n := range []uint64{4, 5, 1 << 31, 1 << 40, math.MaxInt64, math.MaxUint64} {
		value := store.Marshal(store.NewKey('k'), 1, func(e *store.Encoder) {
			e.Uint(n)
			for range 3 {
				e.Raw(0)
			}
		})
		for what, read := range map[string]func(*store.Decoder){
			"text":  func(d *store.Decoder) { _ = d.String() },
			"bytes": func(d *store.Decoder) { d.Bytes() },
			"roles": func(d *store.Decoder) { d.Roles() },
		} {
			if err := store.Unmarshal(store.NewKey('k'), value, 1, read); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("%d %s of 3 bytes: %v", n, what, err)
			}
		}
	}
}

// FuzzDecode reads any fields, with the right checksum, as every kind of
// record. They are read or damaged; reading costs no more memory than the
// value accounts for; and what was read can be written and is read as the same.
func FuzzDecode(f *testing.F) {
	for i := range kinds {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
		f.Add(uint8(i), []byte("\xff\x07\x03\x05\x01\x05local\x05alice\xf0\xc8\x85\xc9\x06\xff\xff\xff\xff\x0f"))
	}
	f.Fuzz(func(t *testing.T, which uint8, fields []byte) {
		k := kinds[int(which)%len(kinds)]
		s := k.put(t, "a", store.Marshal(k.sample("a"), 1, func(e *store.Encoder) {
			for _, b := range fields {
				e.Raw(b)
			}
		}))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v, err := k.readFrom(t, s, "a")
		runtime.ReadMemStats(&after)
		if used, most := after.TotalAlloc-before.TotalAlloc, uint64(64*len(fields)+100_000); used > most {
			t.Errorf("reading %d bytes took %d of memory", len(fields), used)
		}
		if err != nil {
			if !errors.Is(err, store.ErrDamaged) {
				t.Errorf("%s: %v", k.name, err)
			}
			return
		}
		// Fields that we never write so, such as a suspension that began never,
		// may get lost at first.
		once := rewritten(t, k, v)
		if twice := rewritten(t, k, once); !cmp.Equal(once, twice) {
			t.Errorf("what was read is not what is read again:\n%s", cmp.Diff(once, twice))
		}
	})
}

// rewritten writes what was read under the name "a" and reads it again.
func rewritten(t *testing.T, k kind, v any) any {
	s := memory.New()
	key := k.sample("a")
	update(t, s, func(w store.Writer) error {
		switch v := v.(type) {
		case token.Record:
			return store.PutToken(w, nil, &v)
		case token.Use:
			return store.PutUse(w, named("a"), v)
		case token.Account:
			key = store.NewKey('c').Text("account").Owner(v.Owner)
			return store.Accounts.Put(w, v)
		case token.Connection:
			key = store.NewKey('c').Text("connection").Text(v.Name)
			return store.Connections.Put(w, v)
		case token.Policy:
			return store.Policies.Put(w, v)
		}
		return errors.New("a record of no kind")
	})
	var again any
	view(t, s, func(r store.Reader) (err error) {
		again, err = reread(r, k.name, key, v)
		return err
	})
	return again
}
