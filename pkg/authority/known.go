package authority

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/tokenctl/tokenctl/pkg/signer"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// known is what a credential is judged by: a token and its owner's account as
// they were in one snapshot. All but noted never changes.
type known struct {
	record  token.Record
	lastUse token.Use
	account *token.Account // empty: there is none
	// federated: only an identity provider knows the owner.
	federated bool
	// noted is the Unix time of the last use that a serving process has noted.
	noted atomic.Int64
}

// knownAccess is what an access token is judged by: claims whose signature was
// proved, and the token that it was made from.
type knownAccess struct {
	claims signer.Claims
	parent *known
}

// readKnown reads them. A server does not ask when the token was last used: it
// notes uses in memory, to the same precision.
func (l *Local) readKnown(r store.Reader, id token.ID) (k *known, err error) {
	k = &known{account: &token.Account{}}
	if k.record, err = store.GetToken(r, id); err != nil {
		return nil, err
	}
	if !l.serving {
		if k.lastUse, err = store.GetUse(r, id); err != nil {
			return nil, err
		}
	}
	a, err := readAccount(r, k.record.Owner)
	if err == nil {
		k.account = &a
		if k.federated, err = onlyFederated(r, &a); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return k, nil
}

// known reads a token with its owner's account, or remembers them.
func (l *Local) known(ctx context.Context, id token.ID) (*known, error) {
	return remember(ctx, l, &l.tokens, id, func(r store.Reader) (*known, error) { return l.readKnown(r, id) })
}

// knownAccess checks an access token against the store, or remembers that.
func (l *Local) knownAccess(ctx context.Context, jwt string) (*knownAccess, error) {
	return remember(ctx, l, &l.access, sha256.Sum256([]byte(jwt)), func(r store.Reader) (*knownAccess, error) { return l.readAccess(r, jwt) })
}

// remember reads something in one snapshot, unless it was read before and
// nothing has been written since.
func remember[K comparable, V any](ctx context.Context, l *Local, m *memory[K, V], key K, read func(store.Reader) (*V, error)) (*V, error) {
	// The generation is older than what is read under it, never newer.
	generation, exact := l.store.Generation()
	exact = exact && l.ready.Load()
	if exact {
		if v, has := m.get(generation, key); has {
			if v == nil {
				return nil, store.ErrNotFound
			}
			return v, nil
		}
	}
	var v *V
	err := l.view(ctx, func(r store.Reader) (err error) {
		v, err = read(r)
		return err
	})
	if err != nil {
		// What is not there is remembered too, or it would take longer to refuse.
		if v = nil; !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	if exact && again(&l.asked, key) {
		if now, still := l.store.Generation(); still && now == generation {
			m.put(generation, key, v)
		}
	}
	return v, err
}

// memorySize is how many tokens, and how many access tokens, are remembered:
// some 10 MB each.
const memorySize = 1 << 14

// asked remembers who was asked about of late, in a few bytes each. Only what
// is asked about again is worth remembering whole: else a million tokens that
// come once each would do nothing but push each other out.
type asked struct {
	seed  maphash.Seed
	slots [2 * memorySize]atomic.Uint32
}

// again says whether a key was asked about before, and notes that it was.
func again[K comparable](a *asked, key K) bool {
	h := maphash.Comparable(a.seed, key)
	return a.slots[h%uint64(len(a.slots))].Swap(uint32(h>>32)) == uint32(h>>32)
}

// memory is of what is asked about again and again. It holds what was read
// under one generation of the store; any change of the store, which is ours
// alone, empties it. So it is exact.
type memory[K comparable, V any] struct {
	mu         sync.RWMutex
	generation uint64
	values     map[K]*V // nil: it is not there
}

func (m *memory[K, V]) get(generation uint64, key K) (v *V, has bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.generation != generation {
		return nil, false
	}
	v, has = m.values[key]
	return v, has
}

func (m *memory[K, V]) put(generation uint64, key K, v *V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation > generation {
		return
	}
	if m.generation < generation || m.values == nil {
		m.generation, m.values = generation, map[K]*V{}
	}
	if len(m.values) >= memorySize {
		for other := range m.values { // any: the order of a map is random
			delete(m.values, other)
			break
		}
	}
	m.values[key] = v
}
