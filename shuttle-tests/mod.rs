mod slot_word;
