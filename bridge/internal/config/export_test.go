package config

// SetForTest sets the field of a key without any check of the whole.
func SetForTest(c *Config, k Key, value string) { _ = set(k.field(c), value) }
