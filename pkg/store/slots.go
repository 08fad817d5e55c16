package store

import (
	"fmt"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// ServiceTokens reads the ids of the service tokens of an owner that hold
// their slots, in the order of the services' names.
func ServiceTokens(r Reader, o token.Owner) ([]token.ID, error) {
	var ids []token.ID
	for e, err := range r.Scan(NewKey(tableSlots).Owner(o).Text(token.Service.String()), nil) {
		if err != nil {
			return nil, err
		}
		id, err := idOf(e)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Holder is who holds a slot of a service.
type Holder struct {
	Owner token.Owner
	Token token.ID
}

// ServiceHolders reads at most limit owners with a token of a service, by realm
// and name, from behind the owner after; zero: from the first one.
func ServiceHolders(r Reader, service string, after token.Owner, limit int) ([]Holder, error) {
	prefix := NewKey(tableService).Text(service)
	var from Key
	if !after.IsZero() {
		from = NewKey(tableService).Text(service).Owner(after)
	}
	var holders []Holder
	for e, err := range r.Scan(prefix, from) {
		if err != nil {
			return nil, err
		}
		if len(holders) == limit {
			break
		}
		k := ReadKey(e.Key)
		k.Text()
		h := Holder{Owner: token.Owner{Realm: k.Text(), Name: k.Text()}}
		if err := k.Err(); err != nil {
			return nil, err
		}
		if h.Token, err = idOf(e); err != nil {
			return nil, err
		}
		holders = append(holders, h)
	}
	return holders, nil
}

// idOf is the id that an entry of an index has as its value.
func idOf(e Entry) (id token.ID, err error) {
	if len(e.Value) != len(id) {
		return id, fmt.Errorf("%w: no id under key %x", ErrDamaged, e.Key)
	}
	copy(id[:], e.Value)
	return id, nil
}
