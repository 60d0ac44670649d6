from idim.cli import main

main()
