"""What is measured, one module for each subject: ``cases`` says how, ``table`` tells what came of it."""
