package authority

import (
	"context"
	"errors"
	"sync"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// known is what a credential is judged by: a token and its owner's account as
// they were in one snapshot. It is never changed.
type known struct {
	record  token.Record
	lastUse token.Use
	account *token.Account // empty: there is none
}

// known reads a token with its owner's account, or remembers them.
func (l *Local) known(ctx context.Context, id token.ID) (*known, error) {
	// The generation is older than what is read under it, never newer.
	generation, exact := l.store.Generation()
	exact = exact && l.ready.Load()
	if exact {
		if k := l.memory.get(generation, id); k != nil {
			return k, nil
		}
	}
	k := &known{account: &token.Account{}}
	err := l.view(ctx, func(r store.Reader) (err error) {
		if k.record, err = store.GetToken(r, id); err != nil {
			return err
		}
		if k.lastUse, err = store.GetUse(r, id); err != nil {
			return err
		}
		*k.account, err = store.Accounts.Get(r, k.record.Owner.Realm, k.record.Owner.Name)
		if errors.Is(err, store.ErrNotFound) {
			*k.account, err = token.Account{}, nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if exact {
		if now, still := l.store.Generation(); still && now == generation {
			l.memory.put(generation, id, k)
		}
	}
	return k, nil
}

// memorySize is how many tokens are remembered: some 10 MB.
const memorySize = 1 << 14

// memory is of the tokens that are asked about again and again. It holds what
// was read under one generation of the store; any change of the store, which is
// ours alone, empties it. So it is exact.
type memory struct {
	mu         sync.RWMutex
	generation uint64
	tokens     map[token.ID]*known
}

func (m *memory) get(generation uint64, id token.ID) *known {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.generation != generation {
		return nil
	}
	return m.tokens[id]
}

func (m *memory) put(generation uint64, id token.ID, k *known) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation > generation {
		return
	}
	if m.generation < generation || m.tokens == nil {
		m.generation, m.tokens = generation, map[token.ID]*known{}
	}
	if len(m.tokens) >= memorySize {
		for other := range m.tokens { // any: the order of a map is random
			delete(m.tokens, other)
			break
		}
	}
	m.tokens[id] = k
}
