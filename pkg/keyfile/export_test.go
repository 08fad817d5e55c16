package keyfile

import "time"

// ParseFile parses the text of a key file and renders what was in it.
func ParseFile(text []byte) ([]byte, error) {
	keys, err := parse(text)
	if err != nil {
		return nil, err
	}
	return render(keys), nil
}

// LockFile takes the lock at path, as a change does. Publish makes it a key
// file of one key.
func LockFile(path string) (publish func(to string) error, release func(), err error) {
	l, err := newLock(path)
	if err != nil {
		return nil, nil, err
	}
	return func(to string) error {
		keys, err := withNew(nil, time.Now())
		if err != nil {
			return err
		}
		return l.publish(keys, to)
	}, l.release, nil
}
